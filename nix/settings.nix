# init's settings as a user writes them: name, type, default, example and description of each; wrong ones get a sentence.
{ lib }:
let
  inherit (lib)
    all
    attrNames
    concatMap
    concatStringsSep
    isAttrs
    isInt
    isList
    isString
    ;

  # Addresses as init reads them; those that no host can have stay for it to name.
  octet = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
  isIpv4 = value: builtins.match "${octet}(\\.${octet}){3}" value != null;
  groups = half: if half == "" then [ ] else lib.splitString ":" half;
  isIpv6 =
    value:
    let
      halves = lib.splitString "::" value;
      all' = concatMap groups halves;
      count = lib.length all';
    in
    all (group: builtins.match "[0-9a-fA-F]{1,4}" group != null) all'
    && (if lib.length halves == 2 then count <= 7 else lib.length halves == 1 && count == 8);
  isAddress = value: isIpv4 value || isIpv6 value;
  isAddressWithPrefix =
    value:
    let
      parts = lib.splitString "/" value;
      address = lib.head parts;
      prefix = lib.last parts;
    in
    lib.length parts == 2
    && (
      (isIpv4 address && builtins.match "[1-9]|[12][0-9]|3[0-2]" prefix != null)
      || (isIpv6 address && builtins.match "[1-9]|[1-9][0-9]|1[01][0-9]|12[0-8]" prefix != null)
    );
  label = "[a-zA-Z0-9_][a-zA-Z0-9_-]{0,62}";
  linkLists = {
    addresses = isAddressWithPrefix;
    gateways = isAddress;
    dns = isAddress;
    search = value: builtins.match "${label}(\\.${label})*" value != null;
  };
  # capabilities(7)
  capabilities = map (name: "CAP_${name}") (
    lib.splitString " " (
      "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
      + "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
      + "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
      + "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
    )
  );
  # setrlimit(2)
  limits = lib.splitString " " "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK";

  # The names that init knows, and lines that begin with a group's.
  systemCalls = lib.splitString " " (
    lib.replaceStrings [ "\n" ] [ " " ] (
      builtins.readFile ../runtime/init/src/settings/system-calls.txt
    )
  );

  # 1 to 65535
  port = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]";

  nonEmpty = value: isString value && value != "";
  # The kernel's limit for an argument or a variable (MAX_ARG_STRLEN).
  isWord = value: isString value && builtins.stringLength value < 131072;
  types = {
    seconds = {
      description = "a number of seconds from 1 to 86400";
      check = value: isInt value && value >= 1 && value <= 86400;
    };
    maybeSeconds = {
      description = "null or ${types.seconds.description}";
      check = value: value == null || types.seconds.check value;
    };
    strings = {
      description = "a list of strings of less than 128 KiB";
      check = value: isList value && all isWord value;
    };
    names = {
      description = "a list of host names or addresses";
      check = value: isList value && all nonEmpty value;
    };
    environment = {
      description = "an attribute set of strings, whose names are not empty and have no \"=\", each of less than 128 KiB with its name";
      check =
        value:
        isAttrs value
        && all (
          name:
          builtins.match "[^=]+" name != null && isString value.${name} && isWord "${name}=${value.${name}}"
        ) (attrNames value);
    };
    links = {
      description = "an attribute set from paths below /bin, /etc, /lib, /lib64, /opt, /sbin, /usr or /var to absolute paths";
      check =
        value:
        isAttrs value
        && all (
          path:
          builtins.match "/(bin|etc|lib|lib64|opt|sbin|usr|var)/[^\n]+" path != null
          && builtins.match "(.*/)?\\.\\.(/.*)?" path == null
          && isString value.${path}
          && lib.hasPrefix "/" value.${path}
        ) (attrNames value);
    };
    hostName = {
      description = "null or a host name of letters, digits and hyphens, at most 63 characters";
      check =
        value:
        value == null
        || (isString value && builtins.match "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?" value != null);
    };
    networkLinks = {
      description = "an attribute set from names or hardware addresses of links, or \"*\", to attribute sets of the lists `addresses`, at least one such as \"192.0.2.10/24\", `gateways` and `dns` of addresses, and `search` of domains";
      check =
        value:
        isAttrs value
        && all (
          link:
          builtins.match "[*]|[^/[:space:]*]{1,15}|[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}" link != null
          && isAttrs value.${link}
          && all (
            name:
            linkLists ? ${name}
            && isList value.${link}.${name}
            && all (item: isString item && linkLists.${name} item) value.${link}.${name}
          ) (attrNames value.${link})
          && value.${link}.addresses or [ ] != [ ]
        ) (attrNames value);
    };
    syslog = {
      description = "null, \"udp://host:port\" or \"tcp://host:port\"";
      check =
        value:
        value == null
        || (
          isString value
          && builtins.match "(udp|tcp)://([^]:/@[ \n]+|\\[[0-9a-fA-F:.]+])(:(${port}))?" value != null
        );
    };
    compress = {
      description = "null, \"zstd\" or \"zstd:1\" to \"zstd:15\"";
      check =
        value: value == null || (isString value && builtins.match "zstd(:([1-9]|1[0-5]))?" value != null);
    };
    whichDisk = {
      description = "null, \"uuid:\" and the UUID of a file system, \"serial:\" and a serial number of up to 128 characters without spaces, or \"bus:\" and ata, mmc, nvme, scsi, usb, virtio, vmbus or xen";
      check =
        value:
        value == null
        || (
          isString value
          &&
            builtins.match "uuid:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|serial:[!-~]{1,128}|bus:(ata|mmc|nvme|scsi|usb|virtio|vmbus|xen)" value
            != null
        );
    };
    bool = {
      description = "true or false";
      check = lib.isBool;
    };
    user = {
      description = "\"root\" or a number from 1 to 65533";
      check = value: value == "root" || (isInt value && value >= 1 && value <= 65533);
    };
    capabilities = {
      description = "null or a list of capabilities, such as \"CAP_NET_BIND_SERVICE\"";
      check =
        value:
        value == null || (isList value && all (name: isString name && lib.elem name capabilities) value);
    };
    systemCalls = {
      description = "null or a list of system calls and groups of them, such as \"@system-service\", each perhaps after a \"~\"";
      check =
        value:
        value == null
        || (
          isList value
          && all (
            name:
            isString name
            && builtins.match "~?@?[a-z_][a-z0-9_-]*" name != null
            && lib.elem (lib.removePrefix "~" name) (systemCalls ++ [ "@system-service" ])
          ) value
        );
    };
    limits = {
      description = "an attribute set of numbers from 0 on, with names of ${concatStringsSep ", " limits}";
      check =
        value:
        isAttrs value
        && all (name: lib.elem name limits && isInt value.${name} && value.${name} >= 0) (attrNames value);
    };
    onExit = {
      description = "\"reboot\", \"restart\" or \"poweroff\"";
      check =
        value:
        builtins.elem value [
          "reboot"
          "restart"
          "poweroff"
        ];
    };
  };

  # Besides type, default, example and description, an option may have:
  # sandbox  true if init knows it as a part of app.sandbox
  # forInit  function from the user's value to init's
  options = {
    app.arguments = {
      type = types.strings;
      default = [ ];
      example = [ "--verbose" ];
      description = "Arguments of the app.";
    };
    app.environment = {
      type = types.environment;
      default = { };
      example = {
        RUST_LOG = "info";
      };
      description = "Environment variables of the app, besides those of the contract.";
    };
    app.links = {
      type = types.links;
      default = { };
      example = {
        "/bin/sh" = "/nix/store/…-busybox/bin/sh";
      };
      description = "Symbolic links that are made before the app starts, such as /bin/sh.";
    };
    app.gracePeriod = {
      type = types.seconds;
      default = 10;
      example = 30;
      description = "Seconds that the app may take to stop before init kills it.";
    };
    app.onExit = {
      type = types.onExit;
      default = "reboot";
      example = "poweroff";
      description = "The consequence when the app ends by itself.";
    };
    app.longestPause = {
      type = types.seconds;
      default = 60;
      example = 5;
      description = "Seconds that pass at most between the end of an app that fails again and again and its restart or the machine's reboot.";
    };
    app.readyTimeout = {
      type = types.maybeSeconds;
      default = null;
      example = 30;
      description = "Seconds after its start that the app may take to say READY=1 (sd_notify): one that does not has failed, and is stopped. Without it nothing waits for that.";
    };
    app.watchdog = {
      type = types.maybeSeconds;
      default = null;
      example = 20;
      description = "Seconds within which the app has to say WATCHDOG=1 (sd_notify) again and again: one that does not for so long has failed, and is killed by SIGABRT. It begins with READY=1 where readyTimeout is set, else with the app.";
    };
    app.sandbox = {
      type = types.bool;
      default = true;
      example = false;
      description = "If true, the app is shut in as the settings user, capabilities, noNewPrivileges, privateTmp, readOnlyRoot, limits and systemCalls say. Without it none of them counts: the app is root and may do everything.";
    };
    app.user = {
      sandbox = true;
      forInit = user: if user == "root" then 0 else user;
      type = types.user;
      default = "root";
      example = 1000;
      description = "The user and group as which the app runs; a number gets the name app, the home /run/app and the right to write to /persistent.";
    };
    app.capabilities = {
      sandbox = true;
      type = types.capabilities;
      default = null;
      example = [ "CAP_NET_BIND_SERVICE" ];
      description = "All that the app keeps of root's rights, be it root or not. Without a list: nothing for another user, and for root everything but loading modules, direct access to hardware, reboot(2) and changes to a security module. Without CAP_SYS_ADMIN /sys, /proc/sys and other switches of the kernel refuse writes; see app-contract.md.";
    };
    app.noNewPrivileges = {
      sandbox = true;
      type = types.bool;
      default = true;
      example = false;
      description = "If true, no program that the app executes can have more rights than the app (no_new_privs).";
    };
    app.privateTmp = {
      sandbox = true;
      type = types.bool;
      default = false;
      example = true;
      description = "If true, each start of the app has an empty /tmp of its own. What the app mounts is then gone with it.";
    };
    app.readOnlyRoot = {
      sandbox = true;
      type = types.bool;
      default = false;
      example = true;
      description = "If true, the app can write to /run, /tmp, /dev and /persistent only, besides files of processes in /proc. What the app mounts is then gone with it.";
    };
    app.limits = {
      sandbox = true;
      type = types.limits;
      default = { };
      example = {
        NOFILE = 65536;
      };
      description = "Resource limits (setrlimit(2), without RLIMIT_), soft and hard.";
    };
    app.systemCalls = {
      sandbox = true;
      type = types.systemCalls;
      default = null;
      example = [
        "@system-service"
        "~@network"
      ];
      description = "The system calls that the app may use: those without a ~, or all if there are none of those, but those with one. Others fail with EPERM. A name with an @ is a group: @clock, @cpu-emulation, @debug, @keyring, @module, @mount, @namespace, @network, @obsolete, @privileged, @raw-io, @reboot, @resources, @swap, and @system-service, which is all but @clock, @cpu-emulation, @debug, @module, @mount, @obsolete, @raw-io, @reboot and @swap. With a list noNewPrivileges is always on.";
    };
    network.hostName = {
      type = types.hostName;
      default = null;
      example = "kiosk";
      description = "Host name; without it the one that DHCP gives, else the image's name. DHCP servers are told it, or else the image's name.";
    };
    network.deadline = {
      type = types.seconds;
      default = 10;
      example = 30;
      description = "Seconds that the app's start waits at most for links that have a carrier.";
    };
    network.detectConflicts = {
      type = types.bool;
      default = true;
      example = false;
      description = "If true, init gives back an address from a DHCP server that another machine has too. A network whose router answers for all addresses (proxy ARP) needs false.";
    };
    network.links = {
      type = types.networkLinks;
      default = { };
      example = {
        eth0 = {
          addresses = [
            "192.0.2.10/24"
            "2001:db8::10/64"
          ];
          gateways = [ "192.0.2.1" ];
          dns = [ "192.0.2.53" ];
          search = [ "example.org" ];
        };
      };
      description = "Links that have fixed addresses instead of DHCP, by their hardware addresses, such as \"52:54:00:12:34:56\", or by their names; \"*\" is each link that is not named. A hardware address comes before a name, and the kernel parameter `ip=` before both. A link that the program makes, such as a bridge, is left to the program unless it is named here.";
    };
    network.longestRetry = {
      type = types.seconds;
      default = 64;
      example = 2;
      description = "Seconds that pass at most, with DHCPv6 a tenth more, between two messages to DHCP servers that do not answer while a link has no lease. A DHCPv6 server may set another limit, from a minute to a day (SOL_MAX_RT, INF_MAX_RT). The renewal of a lease keeps to the protocols' own times: DHCPv4 waits for half of what is left until any server may be asked (T2), and from then on for half of what is left of the lease, 300 s at most; DHCPv6 waits for 600 s at most.";
    };
    drivers.hotPlug = {
      type = types.bool;
      default = false;
      example = true;
      description = "If true, modules can be loaded after the app's start too, for a device that comes then and has a driver in the image that no other device has asked for. Without it the kernel takes no module from then on, or once the drivers are done that are being loaded then. What is built in, virtio's devices above all, needs no module and can always be plugged in.";
    };
    storage.deadline = {
      type = types.seconds;
      default = 5;
      example = 20;
      description = "Seconds that the app's start waits at most for storage.";
    };
    storage.grow = {
      type = types.bool;
      default = false;
      example = true;
      description = "If true, /persistent is extended to the end of its disk; the `disk` image says so itself. A btrfs is never extended to less than 256 MiB, which the kernel refuses.";
    };
    storage.create = {
      type = types.bool;
      default = false;
      example = true;
      description = "If true, a blank disk becomes /persistent, as a btrfs that fills it, when no file system is labelled tinyboot: the only disk of at least 128 MiB, neither removable nor partitioned, that has no byte but zeros. All of it is read for that. On a disk of less than 256 MiB the btrfs has 128 MiB, since the kernel extends none to less.";
    };
    storage.persistent = {
      type = types.whichDisk;
      default = null;
      example = "serial:data";
      description = "The disk that /persistent is on: by the UUID of its file system, by its serial number, or by a bus that it is behind, such as \"bus:nvme\". The file system has to be labelled tinyboot all the same, and no other disk is used, nor made /persistent by `storage.create`. virtio-blk tells the first 20 characters of a serial number, and these are enough. Without this setting a disk that is built in comes before one that is removable or behind USB, a disk of its own before the partition of the `disk` image, btrfs before ext4, ext3 and ext2, and then the first by name.";
    };
    storage.compress = {
      type = types.compress;
      default = null;
      example = "zstd:3";
      description = "The compression of new data on /persistent, if it is a btrfs; a higher level is smaller and slower, and zstd alone is level 3. What cannot be made smaller is written as it is. ext4 cannot compress, and the log says so.";
    };
    storage.discard = {
      type = types.bool;
      default = false;
      example = true;
      description = "If true, the disk under /persistent is told which blocks are free again, so that a disk that is provided as it fills can shrink, and flash can reuse them.";
    };
    log.syslog = {
      type = types.syslog;
      default = null;
      example = "udp://logs.example.org:514";
      description = "A server that gets each line of the app, of init and of the kernel as a syslog message (RFC 5424), by UDP or by TCP. Without a port it is 514 or 601. The app never waits for it.";
    };
    clock.servers = {
      type = types.names;
      default = [ ];
      example = [ "time.example.org" ];
      description = "NTP servers, asked beside those that DHCP names, which come first. With three or more one that lies is outvoted. None is asked where KVM or Hyper-V shows its clock.";
    };
    control.agent = {
      type = types.bool;
      default = true;
      example = false;
      description = "If true, init answers the hypervisor's tools on the guest agent's port; see operating.md.";
    };
    control.machineSettings = {
      type = types.bool;
      default = true;
      example = false;
      description = "If true, a machine may have settings and credentials of its own, from its hypervisor or the kernel's command line; see machine-settings.md.";
    };
  };

  sections = attrNames options;
  known = concatStringsSep ", " (
    concatMap (section: map (name: "${section}.${name}") (attrNames options.${section})) sections
  );
  show = lib.generators.toPretty { multiline = false; };

  # Every setting with its attribute of that name, such as "default".
  each = attribute: lib.mapAttrs (_: lib.mapAttrs (_: option: option.${attribute})) options;

  resolve =
    settings:
    lib.mapAttrs (
      section: lib.mapAttrs (name: option: settings.${section}.${name} or option.default)
    ) options;

  forInit =
    settings:
    let
      values = lib.mapAttrs (
        section: lib.mapAttrs (name: (options.${section}.${name}.forInit or lib.id))
      ) (resolve settings);
      inSandbox = lib.filterAttrs (name: _: options.app.${name}.sandbox or false) values.app;
    in
    values
    // {
      app = removeAttrs values.app (attrNames inSandbox) // {
        sandbox = if values.app.sandbox then inSandbox else null;
      };
    };

  # JSON of one line for each value, for people to read and for diff.
  toLines =
    indent: value:
    if isAttrs value && value != { } then
      "{\n"
      + lib.concatMapStringsSep ",\n" (
        name: "${indent}  ${builtins.toJSON name}: ${toLines "${indent}  " value.${name}}"
      ) (attrNames value)
      + "\n${indent}}"
    else
      builtins.toJSON value;
in
{
  inherit options;

  /*
    Settings without problems, with the defaults filled in.

    Type: resolve :: attrset -> attrset
  */
  inherit resolve;

  /*
    The same as init reads them. Nothing is listed by hand: each option arrives at init.

    Type: forInit :: attrset -> attrset
  */
  inherit forInit;

  # The text of runtime/init/src/settings/table.json, which a test of init compares with its own defaults and names.
  table =
    toLines "" {
      inherit capabilities limits;
      defaults = forInit { };
      examples = forInit (lib.recursiveUpdate (each "example") { app.sandbox = true; });
    }
    + "\n";

  /*
    What is wrong with settings: a list of sentences.

    Type: problems :: string -> attrset -> [string]

    image  how to name the image
  */
  problems =
    image: settings:
    if !isAttrs settings then
      [ "The settings of ${image} must be an attribute set, but are ${show settings}." ]
    else
      concatMap (
        section:
        if !(options ? ${section}) then
          [ "There is no setting \"${section}\", which ${image} has; there are ${known}." ]
        else if !isAttrs settings.${section} then
          [
            "The setting \"${section}\" of ${image} must be an attribute set, but is ${show settings.${section}}."
          ]
        else
          concatMap (
            name:
            let
              option = options.${section}.${name} or null;
              value = settings.${section}.${name};
            in
            if option == null then
              [ "There is no setting \"${section}.${name}\", which ${image} has; there are ${known}." ]
            else if !option.type.check value then
              [
                "The setting \"${section}.${name}\" of ${image} must be ${option.type.description}, but is ${show value}."
              ]
            else
              [ ]
          ) (attrNames settings.${section})
      ) (attrNames settings);
}
