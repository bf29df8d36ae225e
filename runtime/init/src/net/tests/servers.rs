//! Real servers at the other end of the links.

use std::fs::File;
use std::process::Command;

use super::world::{Outcome, World, find};

impl World {
    /// Starts `dnsmasq`, without DNS, on `srv0` with the address 10.9.0.1. Its least lease is two minutes.
    pub fn dnsmasq(&mut self, options: &[&str]) -> Outcome {
        let leases = self.directory.path().join("dnsmasq.leases");
        let mut command = Command::new(find("dnsmasq").ok_or("no dnsmasq")?);
        command
            .args([
                "--no-daemon",
                "--conf-file=/dev/null",
                "--pid-file",
                // Root of this namespace: a build's sandbox need not have another user.
                "--user=root",
                "--group=root",
                "--port=0",
                "--no-ping",
                "--dhcp-authoritative",
            ])
            .args([
                "--interface=srv0",
                "--bind-interfaces",
                "--dhcp-range=10.9.0.10,10.9.0.20,255.255.255.0,120",
            ])
            .arg(format!("--dhcp-leasefile={}", leases.display()))
            .args(options);
        self.start(&mut command)
    }

    /// Starts `dnsmasq` as a router on `srv0`, which has to have an IPv6 address, for IPv6 alone.
    pub fn router(&mut self, options: &[&str]) -> Outcome {
        let mut command = Command::new(find("dnsmasq").ok_or("no dnsmasq")?);
        command
            .args(["--no-daemon", "--conf-file=/dev/null", "--pid-file"])
            .args(["--user=root", "--group=root", "--port=0"])
            .args(["--interface=srv0", "--bind-dynamic", "--enable-ra"])
            .args(["--dhcp-leasefile=/dev/null"])
            .args(options);
        self.start(&mut command)
    }

    /// Starts `udhcpd` on `srv0` with leases of `seconds`, giving addresses from 10.9.0.`first` on.
    pub fn udhcpd(&mut self, seconds: u32, first: u8, options: &str) -> Outcome {
        let directory = self.directory.path().to_owned();
        let configuration = directory.join("udhcpd.conf");
        let leases = directory.join(format!("udhcpd-{first}.leases"));
        File::create(&leases)?;
        std::fs::write(
            &configuration,
            format!(
                "start 10.9.0.{first}\nend 10.9.0.{}\ninterface srv0\nmin_lease 1\nlease_file {}\npidfile {}\n\
                 option subnet 255.255.255.0\noption lease {seconds}\n{options}\n",
                first + 10,
                leases.display(),
                directory.join("udhcpd.pid").display(),
            ),
        )?;
        let mut command = Command::new(find("udhcpd").ok_or("no udhcpd")?);
        command.arg("-f").args(["-a", "50"]).arg(configuration);
        self.start(&mut command)
    }
}
