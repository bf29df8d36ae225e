# The kernels, each with the folders of configuration fragments that make it; a later folder may overrule an earlier one.
{
  # Virtual machines with virtio devices.
  virtual = [ ./common ];

  # Every hypervisor, and real machines with common hardware.
  generic = [
    ./common
    ./generic
  ];

  # The same with the large drivers of servers: 100 Gbit/s Ethernet and RAID controllers. It takes the longest to build.
  server = [
    ./common
    ./generic
    ./server
  ];
}
