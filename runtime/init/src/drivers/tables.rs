//! What depmod(8) says about the modules: where they are, what they need, which devices they drive (modules.dep(5)).

use std::collections::{BTreeMap, HashMap};

use super::glob;

/// The tables of one kernel release.
#[derive(Debug, Default)]
pub struct Tables {
    /// Name → file and the files that it needs, as `modules.dep` has them.
    modules: HashMap<String, (String, Vec<String>)>,
    /// Bus (what stands before the first `:`) → pattern and module. Patterns without a fixed bus are below the empty one.
    aliases: BTreeMap<String, Vec<(String, String)>>,
    /// Name → modules to load before and after it.
    soft: HashMap<String, (Vec<String>, Vec<String>)>,
}

impl Tables {
    /// Reads the three files' texts. Lines of another form are passed over.
    pub fn parse(dep: &str, alias: &str, softdep: &str) -> Self {
        let mut tables = Self::default();
        for line in dep.lines() {
            if let Some((file, needed)) = line.split_once(':') {
                let needed = needed.split_ascii_whitespace().map(str::to_owned).collect();
                tables
                    .modules
                    .insert(name_of(file), (file.to_owned(), needed));
            }
        }
        for line in alias.lines() {
            if let ["alias", pattern, module] = *line.split_ascii_whitespace().collect::<Vec<_>>() {
                let bus = bus_of(pattern);
                let bus = if bus.contains(['*', '?', '[']) {
                    String::new()
                } else {
                    bus.to_owned()
                };
                tables
                    .aliases
                    .entry(bus)
                    .or_default()
                    .push((pattern.to_owned(), normal(module)));
            }
        }
        for line in softdep.lines() {
            let mut words = line.split_ascii_whitespace();
            if words.next() != Some("softdep") {
                continue;
            }
            let Some(module) = words.next() else { continue };
            let (before, after) = tables.soft.entry(normal(module)).or_default();
            let mut list = None;
            for word in words {
                match (word, &mut list) {
                    ("pre:", list) => *list = Some(true),
                    ("post:", list) => *list = Some(false),
                    (name, Some(true)) => before.push(normal(name)),
                    (name, Some(false)) => after.push(normal(name)),
                    (_, None) => {}
                }
            }
        }
        tables
    }

    /// True when there is nothing to load.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// The modules that drive a device of this modalias, in the table's order; those of the same name as well.
    pub fn drivers(&self, modalias: &str) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for (pattern, module) in [bus_of(modalias), ""]
            .iter()
            .filter_map(|bus| self.aliases.get(*bus))
            .flatten()
        {
            if !found.contains(&module.as_str())
                && glob::matches(pattern.as_bytes(), modalias.as_bytes())
            {
                found.push(module);
            }
        }
        if let Some((name, _)) = self.modules.get_key_value(&normal(modalias)) {
            found.push(name);
        }
        found
    }

    /// The files to load for `module`, in order: what it needs comes before it, soft dependencies where they are there.
    pub fn order(&self, module: &str) -> Vec<&str> {
        let mut order = Vec::new();
        self.visit(module, &mut Vec::new(), &mut order);
        order
    }

    fn visit<'a>(&'a self, module: &str, under_way: &mut Vec<&'a str>, order: &mut Vec<&'a str>) {
        let Some((name, (file, needed))) = self.modules.get_key_value(module) else {
            return;
        };
        // A circle of soft dependencies ends here.
        if order.contains(&file.as_str()) || under_way.contains(&name.as_str()) {
            return;
        }
        under_way.push(name);
        let (before, after) = self
            .soft
            .get(name)
            .map(|(b, a)| (b.as_slice(), a.as_slice()))
            .unwrap_or_default();
        before
            .iter()
            .for_each(|soft| self.visit(soft, under_way, order));
        // depmod writes the nearest need first and each need's needs behind it.
        needed
            .iter()
            .rev()
            .for_each(|file| self.visit(&name_of(file), under_way, order));
        order.push(file);
        after
            .iter()
            .for_each(|soft| self.visit(soft, under_way, order));
        under_way.pop();
    }
}

/// `kernel/drivers/net/virtio-net.ko` → `virtio_net`, the name that the kernel gives it.
pub fn name_of(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    normal(base.split('.').next().unwrap_or(base))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn bus_of(alias: &str) -> &str {
    alias.split(':').next().unwrap_or(alias)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEP: &str = "kernel/a/virtio.ko:\nkernel/a/virtio_ring.ko: kernel/a/virtio.ko\n\
        kernel/a/virtio_pci.ko: kernel/a/virtio_ring.ko kernel/a/virtio.ko\n\
        kernel/b/net-failover.ko:\nkernel/b/virtio_net.ko: kernel/b/net-failover.ko kernel/a/virtio_ring.ko kernel/a/virtio.ko\n\
        kernel/c/crc32c_generic.ko:\nkernel/c/fs.ko:\n";
    const ALIAS: &str = "# Aliases extracted from modules themselves.\nalias virtio:d00000001v* virtio_net\n\
        alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\nalias fs-x fs\nalias acpi*:PNP0C0C:* button\n";
    const SOFT: &str =
        "# Soft dependencies\nsoftdep fs pre: crc32c-generic missing post: virtio_pci\n";

    fn tables() -> Tables {
        Tables::parse(DEP, ALIAS, SOFT)
    }

    #[test]
    fn a_device_finds_its_driver() {
        assert_eq!(
            tables().drivers("virtio:d00000001v00001AF4"),
            ["virtio_net"]
        );
        assert_eq!(
            tables().drivers("pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00"),
            ["virtio_pci"]
        );
        assert_eq!(tables().drivers("fs-x"), ["fs"]);
        assert_eq!(tables().drivers("virtio-net"), ["virtio_net"]);
        assert_eq!(tables().drivers("acpi:PNP0C0C:"), ["button"]);
        assert!(tables().drivers("usb:v1").is_empty());
    }

    #[test]
    fn needs_come_first_and_once() {
        assert_eq!(
            tables().order("virtio_net"),
            [
                "kernel/a/virtio.ko",
                "kernel/a/virtio_ring.ko",
                "kernel/b/net-failover.ko",
                "kernel/b/virtio_net.ko"
            ]
        );
        assert_eq!(
            tables().order("fs"),
            [
                "kernel/c/crc32c_generic.ko",
                "kernel/c/fs.ko",
                "kernel/a/virtio.ko",
                "kernel/a/virtio_ring.ko",
                "kernel/a/virtio_pci.ko"
            ]
        );
        assert!(tables().order("unknown").is_empty());
    }

    #[test]
    fn a_circle_ends() {
        let circle = Tables::parse(
            "a.ko: b.ko\nb.ko: a.ko\n",
            "",
            "softdep a pre: b\nsoftdep b pre: a\n",
        );
        assert_eq!(circle.order("a"), ["b.ko", "a.ko"]);
    }

    proptest! {
        #[test]
        fn any_tables_are_read(dep in ".{0,200}", alias in ".{0,200}", soft in ".{0,200}", device in ".{0,40}") {
            let tables = Tables::parse(&dep, &alias, &soft);
            for driver in tables.drivers(&device) {
                let _ = tables.order(driver);
            }
        }

        #[test]
        fn every_need_stands_before_what_needs_it(edges in proptest::collection::vec((0usize..8, 0usize..8), 0..20)) {
            // An edge from a higher to a lower number: no circles, as depmod guarantees; needs are transitive.
            let mut needs = vec![std::collections::BTreeSet::new(); 8];
            for (a, b) in edges {
                if a != b { needs[a.max(b)].insert(a.min(b)); }
            }
            for module in 0..8 {
                let indirect: Vec<usize> = needs[module].iter().flat_map(|need| needs[*need].clone()).collect();
                needs[module].extend(indirect);
            }
            let dep: String = (0..8).map(|m| format!("m{m}.ko:{}\n", needs[m].iter().rev().map(|n| format!(" m{n}.ko")).collect::<String>())).collect();
            let tables = Tables::parse(&dep, "", "");
            let order = tables.order("m7");
            for (m, needs) in needs.iter().enumerate() {
                let place = |n: usize| order.iter().position(|file| *file == format!("m{n}.ko"));
                if let Some(own) = place(m) {
                    for need in needs { prop_assert!(place(*need).is_some_and(|earlier| earlier < own)); }
                }
            }
        }
    }
}
