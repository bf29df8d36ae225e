# Wrong input stops with one sentence that names it: at evaluation where the arguments tell, else in the build.
{
  lib,
  runCommand,

  mkImage,
  mkClosure,
  mkInitramfs,
  mkModules,
  mkIso,
  kernel,
  hello,
  image,
}:
let
  problems = import ./asserts.nix {
    inherit lib;
    arguments = import ./arguments.nix { inherit lib; };
    settingsProblems = (import ./settings.nix { inherit lib; }).problems;
  };
  good = {
    name = "good";
    app = hello;
  };

  fixed.settings.network.links = {
    "*".addresses = [ "255.0.0.1/1" ];
    eth0 = {
      addresses = [
        "192.0.2.10/32"
        "2001:db8::/128"
        "1:2:3:4:5:6:7:8/9"
        "::1/64"
      ];
      gateways = [ "fe80::1" ];
      dns = [ ];
      search = [ "a-b.example" ];
    };
  };

  long = lib.concatStrings (lib.genList (_: "0123456789abcdef") 8192);
  syslog = port: { settings.log.syslog = "tcp://[2001:db8::1]:${port}"; };

  # Changed arguments, and how the only sentence about them begins.
  evaluation = [
    {
      change.hardwear = "pc";
      sentence = "There is no argument \"hardwear\", which the image \"good\" has; there are app, closureIn, ";
    }
    {
      change.settings.app.gracePeriood = 3;
      sentence = "There is no setting \"app.gracePeriood\", which the image \"good\" has; there are ";
    }
    {
      change.settings.nett = { };
      sentence = "There is no setting \"nett\", which the image \"good\" has; there are ";
    }
    {
      change.settings.app.gracePeriod = -1;
      sentence = "The setting \"app.gracePeriod\" of the image \"good\" must be a number of seconds from 1 to 86400, but is -1.";
    }
    {
      change.settings.app.longestPause = 0;
      sentence = "The setting \"app.longestPause\" of the image \"good\" must be a number of seconds from 1 to 86400, but is 0.";
    }
    {
      change.settings.app.watchdog = "5s";
      sentence = "The setting \"app.watchdog\" of the image \"good\" must be null or a number of seconds from 1 to 86400, but is \"5s\".";
    }
    {
      change.settings.app.user = "www";
      sentence = "The setting \"app.user\" of the image \"good\" must be \"root\" or a number from 1 to 65533, but is \"www\".";
    }
    {
      change.settings.app.capabilities = [ "NET_RAW" ];
      sentence = "The setting \"app.capabilities\" of the image \"good\" must be null or a list of capabilities, such as \"CAP_NET_BIND_SERVICE\", but is [ \"NET_RAW\" ].";
    }
    {
      change.settings.app.limits.RLIMIT_NOFILE = 1;
      sentence = "The setting \"app.limits\" of the image \"good\" must be an attribute set of numbers from 0 on, with names of AS, CORE, CPU, ";
    }
    {
      change.settings.app.arguments = [ long ];
      sentence = "The setting \"app.arguments\" of the image \"good\" must be a list of strings of less than 128 KiB, but is ";
    }
    {
      change.settings.app.environment.A = long;
      sentence = "The setting \"app.environment\" of the image \"good\" must be an attribute set of strings, whose names are not empty and have no \"=\", each of less than 128 KiB with its name, but is ";
    }
    {
      change.settings.app.environment."A=B" = "1";
      sentence = "The setting \"app.environment\" of the image \"good\" must be an attribute set of strings, whose names are not empty";
    }
    {
      change.settings.log.syslog = "logs.example.org";
      sentence = "The setting \"log.syslog\" of the image \"good\" must be null, \"udp://host:port\" or \"tcp://host:port\", but is \"logs.example.org\".";
    }
    {
      change.settings.log.syslog = "udp://logs.example.org:65536";
      sentence = "The setting \"log.syslog\" of the image \"good\" must be null, \"udp://host:port\" or \"tcp://host:port\", but is \"udp://logs.example.org:65536\".";
    }
    {
      change.settings.storage.persistent = "/dev/vdb";
      sentence = "The setting \"storage.persistent\" of the image \"good\" must be null, \"uuid:\" and the UUID of a file system, \"serial:\" and a serial number of up to 128 characters without spaces, or \"bus:\" and ata, mmc, nvme, scsi, usb, virtio, vmbus or xen, but is \"/dev/vdb\".";
    }
    {
      change.settings.storage.persistent = "serial:";
      sentence = "The setting \"storage.persistent\" of the image \"good\" must be null, \"uuid:\" and the UUID of a file system, \"serial:\" and a serial number of up to 128 characters without spaces, or \"bus:\" and ata, mmc, nvme, scsi, usb, virtio, vmbus or xen, but is \"serial:\".";
    }
    {
      change.settings.storage.persistent = "uuid:74696e79";
      sentence = "The setting \"storage.persistent\" of the image \"good\" must be null, \"uuid:\" and the UUID of a file system, \"serial:\" and a serial number of up to 128 characters without spaces, or \"bus:\" and ata, mmc, nvme, scsi, usb, virtio, vmbus or xen, but is \"uuid:74696e79\".";
    }
    {
      change.settings.storage.persistent = "bus:pci";
      sentence = "The setting \"storage.persistent\" of the image \"good\" must be null, \"uuid:\" and the UUID of a file system, \"serial:\" and a serial number of up to 128 characters without spaces, or \"bus:\" and ata, mmc, nvme, scsi, usb, virtio, vmbus or xen, but is \"bus:pci\".";
    }
    {
      change.settings.storage.compress = "zstd:16";
      sentence = "The setting \"storage.compress\" of the image \"good\" must be null, \"zstd\" or \"zstd:1\" to \"zstd:15\", but is \"zstd:16\".";
    }
    {
      change.settings.storage.create = "/dev/vdb";
      sentence = "The setting \"storage.create\" of the image \"good\" must be true or false, but is \"/dev/vdb\".";
    }
    {
      change.settings.storage.compress = true;
      sentence = "The setting \"storage.compress\" of the image \"good\" must be null, \"zstd\" or \"zstd:1\" to \"zstd:15\", but is true.";
    }
    {
      change.settings.storage.discard = "async";
      sentence = "The setting \"storage.discard\" of the image \"good\" must be true or false, but is \"async\".";
    }
    {
      change.settings.app.links."/iso/sh" = "/app/sh";
      sentence = "The setting \"app.links\" of the image \"good\" must be an attribute set from paths below /bin, /etc, /lib, /lib64, /opt, /sbin, /usr or /var to absolute paths, but is ";
    }
    {
      change.settings.network.links.eth0.addresses = [ "192.0.2.256/24" ];
      sentence = "The setting \"network.links\" of the image \"good\" must be an attribute set from names or hardware addresses of links, or \"*\", to attribute sets of the lists `addresses`, at least one such as \"192.0.2.10/24\", `gateways` and `dns` of addresses, and `search` of domains, but is { eth0 = { addresses = [ \"192.0.2.256/24\" ]; }; }.";
    }
    {
      change.settings.network.links."*" = {
        addresses = [ "2001:db8::1::2/64" ];
      };
      sentence = "The setting \"network.links\" of the image \"good\" must be an attribute set from names or hardware addresses of links, ";
    }
    {
      change.settings.network.links.eth0 = {
        addresses = [ "192.0.2.10/24" ];
        gateway = "192.0.2.1";
      };
      sentence = "The setting \"network.links\" of the image \"good\" must be an attribute set from names or hardware addresses of links, ";
    }
    {
      change.settings.network.links.eth0.dns = [ "192.0.2.53" ];
      sentence = "The setting \"network.links\" of the image \"good\" must be an attribute set from names or hardware addresses of links, ";
    }
    {
      change.settings.app.onExit = "explode";
      sentence = "The setting \"app.onExit\" of the image \"good\" must be \"reboot\", \"restart\" or \"poweroff\", but is \"explode\".";
    }
    {
      change.signing.key = "key.pem";
      sentence = "The signing of the image \"good\" must be null or an attribute set of the files `key` and `certificate`, but is ";
    }
    {
      change.name = "a b";
      sentence = "The name of an image must be at most 63 letters, digits, dots, hyphens, plus signs and underscores, but is \"a b\".";
    }
    {
      change.app = null;
      sentence = "One of `app`, `src` and `command` must be given for the image \"good\", but there is none.";
    }
    {
      change.command = [ hello ];
      sentence = "One of `app`, `src` and `command` must be given for the image \"good\", but there are `app` and `command`.";
    }
    {
      change = {
        app = null;
        command = [
          "${hello}/bin/hello"
          3
        ];
      };
      sentence = "A word of the command of the image \"good\" must be a string, a path or a package, but is 3.";
    }
    {
      change = {
        app = null;
        command = "caddy";
      };
      sentence = "The command of the image \"good\" must be a list of at least one word, but is \"caddy\".";
    }
    {
      change = {
        app = null;
        command = [ "caddy" ];
      };
      sentence = "The command of the image \"good\" must begin with a program of the Nix store, such as \"\${pkgs.caddy}/bin/caddy\", but begins with \"caddy\".";
    }
    {
      change.closureIn = "disk";
      sentence = "The place of the closure, `closureIn`, of the image \"good\" must be \"iso\" or \"memory\", but is \"disk\".";
    }
    {
      change.app = "hello";
      sentence = "The app of the image \"good\" must be a package, but is \"hello\".";
    }
    {
      change.files."../etc" = "/x";
      sentence = "The file \"../etc\" of the image \"good\" must be a relative path on the medium";
    }
    {
      change.hardware = "toaster";
      sentence = "The hardware of the image \"good\" must be a list of module names or one of the profiles pc, server, virtio, vm, but is \"toaster\".";
    }
    {
      change.kernel = "hurd";
      sentence = "The kernel of the image \"good\" must be one of generic, server, virtual, but is \"hurd\".";
    }
    {
      change.compression = "huge";
      sentence = "The compression of the image \"good\" must be \"quick\" or \"small\", but is \"huge\".";
    }
    {
      change.kernelParams = [ "a\nb" ];
      sentence = "The kernel parameter \"a\\nb\" of the image \"good\" must be a string of one line.";
    }
  ];
  complaint =
    { change, sentence }:
    let
      found = problems (good // change);
    in
    lib.optional (
      !(lib.length found == 1 && lib.hasPrefix sentence (lib.head found))
    ) "Instead of \"${sentence}\" there was ${builtins.toJSON found}.";

  # A build that has to fail, with a line of its log.
  fails =
    sentence: drv:
    drv.overrideAttrs (old: {
      buildCommand = ''
        (
        set -e
        ${old.buildCommand}
        ) > log 2>&1 &
        if wait $!; then
          echo "The build went through that should have said: ${sentence}" >&2
          exit 1
        fi
        if ! grep --fixed-strings --line-regexp ${lib.escapeShellArg sentence} log; then
          echo "The build failed without its sentence:" >&2
          cat log >&2
          exit 1
        fi
        touch $out
      '';
    });
  directory = runCommand "not-an-app" { } ''
    mkdir -p $out/bin/app
    echo text > $out/bin/text
    echo '#!/usr/bin/env python3' > $out/bin/script
    printf 'MZ, and no ELF file\n' > $out/bin/foreign
    chmod +x $out/bin/{script,foreign}
  '';
  closureOf =
    file:
    mkClosure {
      name = "bad";
      command = [ "${directory}/bin/${file}" ];
      settings = { };
    };
  initramfsOf =
    app:
    mkInitramfs {
      name = "bad";
      inherit app;
      settings = { };
      inherit (image) modules;
    };
in
{
  evaluation =
    let
      complaints =
        lib.concatMap complaint evaluation
        ++ lib.optional (
          problems good != [ ]
        ) "Good arguments are refused: ${builtins.toJSON (problems good)}."
        ++ lib.optional (
          problems (good // { settings.app.arguments = [ (lib.removeSuffix "f" long) ]; }) != [ ]
        ) "An argument is refused that the kernel takes."
        ++
          lib.optional (problems (good // fixed) != [ ])
            "Fixed addresses are refused: ${builtins.toJSON (problems (good // fixed))}."
        ++ lib.optional (lib.any (port: problems (good // syslog port) != [ ]) [
          "1"
          "9999"
          "59999"
          "65535"
        ]) "A syslog server's port is refused."
        ++
          lib.optional (builtins.tryEval (mkImage { name = "none"; }).iso).success
            "An image without an app is made.";
    in
    runCommand "bad-input-evaluation" { complaints = lib.concatLines complaints; } ''
      echo -n "$complaints" >&2
      [ -z "$complaints" ]
      touch $out
    '';

  unknown-module =
    fails
      "The hardware of the image \"bad\" names the module \"warp_drive\", which its kernel, Linux ${kernel.modDirVersion}, does not have; the kernels \"generic\" and \"server\" have more than \"virtual\"."
      (mkModules {
        name = "bad";
        modules = [ "warp_drive" ];
        inherit kernel;
      }).names;

  builtin-module =
    fails
      "The hardware of the image \"bad\" names the module \"virtio_net\", which is built into Linux ${kernel.modDirVersion}: leave it out."
      (mkModules {
        name = "bad";
        modules = [ "virtio_net" ];
        inherit kernel;
      }).names;

  missing-app = fails "The app of the image \"bad\" has no file \"${directory}/bin/none\"." (
    initramfsOf "${directory}/bin/none"
  );

  app-not-executable = fails "The app of the image \"bad\", \"${directory}/bin/text\", is not an executable file." (
    initramfsOf "${directory}/bin/text"
  );

  app-is-script = fails "The app of the image \"bad\", \"${directory}/bin/script\", is not an ELF file: give a script as `command`." (
    initramfsOf "${directory}/bin/script"
  );

  program-of-no-kind = fails "The program of the image \"bad\", \"${directory}/bin/foreign\", is neither an ELF file nor a script that begins with \"#!\"." (
    closureOf "foreign"
  );

  missing-program = fails "The program of the image \"bad\", \"${directory}/bin/none\", does not exist." (
    closureOf "none"
  );

  program-not-executable = fails "The program of the image \"bad\", \"${directory}/bin/text\", is not an executable file." (
    closureOf "text"
  );

  program-without-interpreter = fails "The program of the image \"bad\", \"${directory}/bin/script\", is a script for \"/usr/bin/env\", which the machine does not have: put a program of the Nix store in front, or name it in `settings.app.links`." (
    closureOf "script"
  );

  missing-file =
    fails "The file \"data.txt\" of the image \"bad\" does not exist: \"${directory}/nothing\"."
      (mkIso {
        name = "bad";
        inherit (image) uki;
        files."data.txt" = "${directory}/nothing";
        closure = null;
        volumeId = "BAD";
      });
}
