# A test that takes too long fails with a sentence, and leaves no machine behind.
{ mkTest, runCommand }:
let
  endless = mkTest {
    name = "endless";
    seconds = 10;
    script = ''
      # It never starts to run.
      machine = Vm("machine", ["-S -nic none"])
      machine.start()
      machine.until("a word", lambda: machine.said("."), 900)
    '';
  };
in
runCommand "vm-test-run-timeout" { requiredSystemFeatures = [ "nixos-test" ]; } ''
  if ${endless.driver}/bin/nixos-test-driver -o . > log 2>&1; then
    echo "An endless test passed:" >&2
    cat log >&2
    exit 1
  fi
  cat log
  grep --quiet "the test took longer than it may" log
  for process in /proc/[0-9]*; do
    # A process may end meanwhile.
    if tr '\0' ' ' 2>/dev/null < "$process/cmdline" | grep "[q]emu-system.*vm-state-machine"; then
      echo "The driver has left QEMU behind." >&2
      exit 1
    fi
  done
  touch $out
''
