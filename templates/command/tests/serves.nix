# Boots the machine, asks for its page, and presses the power button.
{ image, mkTest }:
mkTest {
  name = "serves";
  constants.ISO = image.isoFile;
  script = ''
    port = free_port()
    machine = Guest("machine", ISO, nics=[f"user,hostfwd=tcp:127.0.0.1:{port}-:80"], control=False)

    def page() -> str:
        try:
            with DIRECT.open(f"http://127.0.0.1:{port}/", timeout=SOON) as answer:
                return str(answer.read().decode())
        except OSError as error:
            return str(error)

    machine.start()
    machine.wait("app: started", BOOT)
    machine.until("its page", lambda: page() == "Hello from a machine of one program.\n", BOOT)
    machine.powered_off()
  '';
}
