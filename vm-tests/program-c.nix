# A program that nobody wrote for tinyboot: dnsmasq, in C, answers a question for a name. It gives up root for a user of
# the machine.
{
  mkTest,
  mkImage,
  dnsmasq,
}:
let
  image = mkImage {
    name = "dnsmasq";
    command = [
      "${dnsmasq}/bin/dnsmasq"
      "--keep-in-foreground"
      "--log-facility=-"
      "--pid-file="
      "--user=nobody"
      "--no-resolv"
      "--no-hosts"
      "--address=/answer.example.test/192.0.2.42"
    ];
  };
in
mkTest {
  name = "program-c";
  constants.ISO = image.isoFile;
  script = ''
    def question(name: str) -> bytes:
        """A DNS query for an IPv4 address (RFC 1035, section 4)."""
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        return b"\x2a\x2a\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"

    def ask(port: int, name: str) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(2)
            client.sendto(question(name), ("127.0.0.1", port))
            try:
                return client.recv(512)
            except OSError:
                return b""

    port = free_port()
    # A restricted network lets no UDP out, answers included.
    wire = f"user,net=10.99.0.0/24,hostfwd=udp:127.0.0.1:{port}-:53"
    machine = Guest("machine", ISO, nics=[wire], control=False)
    machine.start()
    machine.wait(r"app: dnsmasq.*: started", BOOT)
    with subtest("dnsmasq answers with the address"):
        machine.until("an answer", lambda: ask(port, "answer.example.test"))
        answer = ask(port, "answer.example.test")
        t.assertEqual(answer[:2], b"\x2a\x2a")
        # No error, one answer, whose last four bytes are the address.
        t.assertEqual(answer[3] & 0x0F, 0)
        t.assertEqual(answer[6:8], b"\x00\x01")
        t.assertEqual(answer[-4:], bytes([192, 0, 2, 42]))
    with subtest("it stops in order"):
        machine.powered_off()
        t.assertTrue(machine.said("tinyboot: app: exited with status 0"))
  '';
}
