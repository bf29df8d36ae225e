//! The search for the one blank disk that may become `/persistent`: which steps it has, and what ends it. No I/O here.
//!
//! A disk is read for minutes, and much can happen meanwhile. So nothing is written before every device was looked at once
//! more, after the reading; and from the moment that a disk comes that may be `/persistent`, nothing is written at all.

use std::collections::{BTreeMap, BTreeSet};

use tokio_util::sync::CancellationToken;

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<D> {
    /// Nothing, until something changes.
    Nothing,
    /// Look through these disks.
    LookThrough(Vec<String>),
    /// Look at all devices once more, and ask again when that is done.
    Confirm,
    /// Make a file system on this one.
    Write(D),
    /// Say that these are blank, and that none is taken.
    Several(Vec<String>),
}

/// How far the search is. `D` is what is held of a disk that was found blank.
#[derive(Debug)]
pub struct Search<D> {
    /// Cancelled as soon as no disk may become `/persistent` any more.
    possible: CancellationToken,
    /// A thread reads or writes.
    busy: bool,
    /// All that have been looked through.
    examined: BTreeSet<String>,
    /// Those that are blank.
    blank: BTreeMap<String, D>,
    /// All devices have been looked at again since.
    confirmed: bool,
}

impl<D> Search<D> {
    /// A search that is `wanted` or not, until `stop` is cancelled.
    pub fn new(wanted: bool, stop: &CancellationToken) -> Self {
        let search = Self {
            possible: stop.child_token(),
            busy: false,
            examined: BTreeSet::new(),
            blank: BTreeMap::new(),
            confirmed: false,
        };
        if !wanted {
            search.possible.cancel();
        }
        search
    }

    /// What the threads have to look at: it is cancelled when their work is for nothing.
    pub fn token(&self) -> CancellationToken {
        self.possible.clone()
    }

    /// Whether [`Self::next`] may have something to do.
    pub fn is_open(&self) -> bool {
        !self.busy && !self.possible.is_cancelled()
    }

    /// Whether a disk is being looked through or written to, or about to be.
    pub fn is_under_way(&self) -> bool {
        self.busy || !self.blank.is_empty()
    }

    /// There is a disk that may be `/persistent`: no other one is made so, until the next boot.
    pub fn give_up(&mut self) {
        self.possible.cancel();
        self.blank.clear();
    }

    /// This disk was taken away.
    pub fn gone(&mut self, name: &str) {
        self.examined.remove(name);
        self.blank.remove(name);
    }

    /// What is to be done, if all devices are known and `/persistent` is empty. `spare` are the disks that nobody uses.
    pub fn next(&mut self, spare: &[String]) -> Step<D> {
        if !self.is_open() {
            return Step::Nothing;
        }
        let new: Vec<_> = spare
            .iter()
            .filter(|name| self.examined.insert((*name).clone()))
            .cloned()
            .collect();
        if !new.is_empty() {
            self.busy = true;
            return Step::LookThrough(new);
        }
        // Somebody uses it now.
        self.blank.retain(|name, _| spare.contains(name));
        if self.blank.len() > 1 {
            let names = self.blank.keys().cloned().collect();
            self.give_up();
            return Step::Several(names);
        }
        if self.blank.is_empty() {
            return Step::Nothing;
        }
        if !self.confirmed {
            self.confirmed = true;
            return Step::Confirm;
        }
        match self.blank.pop_first() {
            Some((_, disk)) => {
                self.busy = true;
                Step::Write(disk)
            }
            None => Step::Nothing,
        }
    }

    /// The disks were looked through, and these are blank.
    pub fn looked_through(&mut self, blank: impl IntoIterator<Item = (String, D)>) {
        self.busy = false;
        self.confirmed = false;
        if self.possible.is_cancelled() {
            return;
        }
        let examined = &self.examined;
        // What went meanwhile may have come back as another disk.
        self.blank.extend(
            blank
                .into_iter()
                .filter(|(name, _)| examined.contains(name)),
        );
    }

    /// The disk was written to, with success or without.
    pub fn written(&mut self, success: bool) {
        self.busy = false;
        if success {
            self.give_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Of = Search<u8>;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn search() -> Of {
        Search::new(true, &CancellationToken::new())
    }

    /// Has these disks, all that there are, looked through; the last of them is blank.
    fn look_through(search: &mut Of, disks: &[&str], new: &[&str]) {
        assert_eq!(search.next(&names(disks)), Step::LookThrough(names(new)));
        assert_eq!(search.next(&names(disks)), Step::Nothing);
        search.looked_through(new.last().map(|name| ((*name).to_owned(), 1)));
    }

    #[test]
    fn the_only_blank_disk_is_written_to_after_one_more_look() {
        let mut search = search();
        look_through(&mut search, &["vda", "vdb"], &["vda", "vdb"]);
        assert!(search.is_under_way());
        assert_eq!(search.next(&names(&["vda", "vdb"])), Step::Confirm);
        let step = search.next(&names(&["vda", "vdb"]));
        assert_eq!(step, Step::Write(1));
        assert!(search.is_under_way() && !search.token().is_cancelled());
        search.written(true);
        assert!(!search.is_under_way() && !search.is_open());
        assert_eq!(search.next(&names(&["vdc"])), Step::Nothing);
    }

    #[test]
    fn a_labelled_disk_ends_the_search_wherever_it_is() {
        let disks = names(&["vda"]);
        for steps in 0..4 {
            let mut search = search();
            for step in 0..steps {
                match search.next(&disks) {
                    Step::LookThrough(_) => assert_eq!(step, 0),
                    Step::Confirm => assert_eq!(step, 1),
                    Step::Write(..) => assert_eq!(step, 2),
                    other => assert_eq!(other, Step::Confirm),
                }
                if step == 0 && steps > 1 {
                    search.looked_through([("vda".into(), 1)]);
                }
            }
            let token = search.token();
            search.give_up();
            assert!(token.is_cancelled(), "{steps}");
            if steps == 1 {
                search.looked_through([("vda".into(), 1)]);
            }
            if steps == 3 {
                search.written(false);
            }
            assert_eq!(search.next(&disks), Step::Nothing, "{steps}");
            assert!(!search.is_under_way(), "{steps}");
        }
    }

    #[test]
    fn of_several_blank_disks_none_is_taken_in_whatever_round_they_come() {
        let mut search = search();
        search.next(&names(&["vda", "vdb"]));
        search.looked_through([("vda".into(), 1), ("vdb".into(), 1)]);
        let step = search.next(&names(&["vda", "vdb"]));
        assert_eq!(step, Step::Several(names(&["vda", "vdb"])));
        // A third one is not the only one either, nor is one that is left.
        search.gone("vda");
        assert_eq!(search.next(&names(&["vdb", "vdc"])), Step::Nothing);
        assert!(search.token().is_cancelled() && !search.is_under_way());
    }

    #[test]
    fn a_disk_that_comes_before_the_writing_is_looked_through_first() {
        let mut search = search();
        look_through(&mut search, &["vda"], &["vda"]);
        assert_eq!(search.next(&names(&["vda"])), Step::Confirm);
        look_through(&mut search, &["vda", "vdb"], &["vdb"]);
        let step = search.next(&names(&["vda", "vdb"]));
        assert_eq!(step, Step::Several(names(&["vda", "vdb"])));
    }

    #[test]
    fn a_disk_that_is_not_blank_leaves_the_place_to_a_later_one() {
        let mut search = search();
        search.next(&names(&["vda"]));
        search.looked_through([]);
        assert_eq!(search.next(&names(&["vda"])), Step::Nothing);
        assert!(search.is_open());
        look_through(&mut search, &["vda", "vdb"], &["vdb"]);
        assert_eq!(search.next(&names(&["vda", "vdb"])), Step::Confirm);
    }

    #[test]
    fn a_blank_disk_that_goes_or_is_used_is_forgotten() {
        let mut search = search();
        look_through(&mut search, &["vda"], &["vda"]);
        search.gone("vda");
        assert_eq!(search.next(&[]), Step::Nothing);
        // One of the same name is another one.
        search.next(&names(&["vda"]));
        search.gone("vda");
        search.looked_through([("vda".into(), 1)]);
        assert!(!search.is_under_way());
        look_through(&mut search, &["vda"], &["vda"]);
        assert_eq!(search.next(&[]), Step::Nothing);
        assert!(!search.is_under_way());
    }

    #[test]
    fn nothing_is_done_unasked_or_when_the_machine_stops() {
        let stop = CancellationToken::new();
        let mut unasked = Of::new(false, &stop);
        assert_eq!(unasked.next(&names(&["vda"])), Step::Nothing);
        assert!(!stop.is_cancelled());
        let mut search = Of::new(true, &stop);
        stop.cancel();
        assert_eq!(search.next(&names(&["vda"])), Step::Nothing);
    }
}
