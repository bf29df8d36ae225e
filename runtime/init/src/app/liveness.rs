//! What the app has to say in time: that it is ready, that it is alive, and that it ends when it said so. Times and notices
//! in, deadlines and steps out; no I/O and no clock. The rules are those of sd_notify(3) and systemd.service(5).

use std::fmt;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::notify::Notice;

/// How much later than without any deadline can be that the app asks to have moved.
const LONGEST_EXTENSION: Duration = Duration::from_secs(300);
/// How long a killed process is waited for: one that the hardware holds does not go.
const GONE: Duration = Duration::from_secs(10);

/// A time that the app may have moved, within limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    begin: Instant,
    latest: Instant,
    /// When it is over.
    pub at: Instant,
}

impl Deadline {
    /// `limit` from `now` on.
    pub fn new(now: Instant, limit: Duration) -> Self {
        let at = later(now, limit);
        Self {
            begin: now,
            latest: at + LONGEST_EXTENSION,
            at,
        }
    }

    /// Not sooner than in `time` from `now`, and at most [`LONGEST_EXTENSION`] later than at first. Whether it moved.
    pub fn extend(&mut self, now: Instant, time: Duration) -> bool {
        let wanted = later(now, time).min(self.latest);
        let moves = wanted > self.at;
        if moves {
            self.at = wanted;
        }
        moves
    }

    fn length(&self) -> Duration {
        self.at.saturating_duration_since(self.begin)
    }

    /// The same deadline, from `now` on.
    fn again(self, now: Instant) -> Self {
        Self {
            begin: now,
            latest: later(now, self.latest.saturating_duration_since(self.begin)),
            at: later(now, self.length()),
        }
    }
}

/// No sum of what others send overflows; a month is as good as for ever.
fn later(now: Instant, time: Duration) -> Instant {
    now + time.min(Duration::from_secs(31 * 86400))
}

/// What the app did not do, each a part of a sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// `READY=1` did not come in time.
    NotReady(Duration),
    /// `WATCHDOG=1` did not come in time.
    Silent(Duration),
    /// It said `WATCHDOG=trigger`.
    Triggered,
    /// It said `STOPPING=1` and did not end.
    Lingers(Duration),
}

impl Failure {
    /// What it gets: SIGABRT where a trace of what it was doing helps.
    pub fn signal(self) -> Signal {
        match self {
            Self::Silent(_) | Self::Triggered => Signal::SIGABRT,
            Self::NotReady(_) | Self::Lingers(_) => Signal::SIGTERM,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: &Duration| (time.as_secs_f64() * 1000.0).round() / 1000.0;
        match self {
            Self::NotReady(time) => write!(f, "did not say READY=1 within {} s", seconds(time)),
            Self::Silent(time) => write!(f, "did not say WATCHDOG=1 within {} s", seconds(time)),
            Self::Triggered => write!(f, "said WATCHDOG=trigger"),
            Self::Lingers(time) => {
                write!(f, "did not end within {} s of STOPPING=1", seconds(time))
            }
        }
    }
}

/// What is to be done with the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It failed: it gets the failure's signal.
    Fail(Failure),
    /// It did not end by that: it gets SIGKILL.
    Kill,
    /// Not even that ended it: it is waited for no longer.
    GiveUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting(Deadline),
    Running,
    Stopping(Deadline),
    /// The failure's signal was sent; SIGKILL follows at this time.
    Failed(Instant),
    Killed(Instant),
    GivenUp,
}

/// One run of the app.
#[derive(Clone, Debug)]
pub struct Liveness {
    grace: Duration,
    watchdog: Option<Duration>,
    /// When `WATCHDOG=1` has to have come.
    alive_by: Option<Instant>,
    /// When `WATCHDOG=trigger` came.
    triggered: Option<Instant>,
    /// A host froze `/persistent`: the app may sleep in a write by no fault of its own.
    held: bool,
    state: State,
}

impl Liveness {
    /// The app was started at `now`. Where `ready` is given it has that long for `READY=1`, and the watchdog begins then, else
    /// at once. `grace` is the time between a signal that asks and SIGKILL.
    pub fn new(
        now: Instant,
        ready: Option<Duration>,
        watchdog: Option<Duration>,
        grace: Duration,
    ) -> Self {
        let mut liveness = Self {
            grace,
            watchdog,
            alive_by: None,
            triggered: None,
            held: false,
            state: ready.map_or(State::Running, |limit| {
                State::Starting(Deadline::new(now, limit))
            }),
        };
        if liveness.state == State::Running {
            liveness.fed(now);
        }
        liveness
    }

    /// Whether `READY=1` is waited for.
    pub fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting(_))
    }

    /// What the app said at `now`.
    pub fn hear(&mut self, now: Instant, notice: &Notice) {
        match (notice, &mut self.state) {
            (Notice::Ready, State::Starting(_)) => {
                self.state = State::Running;
                self.fed(now);
            }
            (Notice::Stopping, State::Starting(_) | State::Running) => {
                self.state = State::Stopping(Deadline::new(now, self.grace));
                self.alive_by = None;
            }
            (
                Notice::ExtendTimeout(time),
                State::Starting(deadline) | State::Stopping(deadline),
            ) => {
                deadline.extend(now, *time);
            }
            (Notice::Watchdog, State::Starting(_) | State::Running) => self.fed(now),
            (Notice::WatchdogTime(time), State::Starting(_) | State::Running) => {
                self.watchdog = Some(*time).filter(|time| !time.is_zero());
                self.fed(now);
            }
            (Notice::WatchdogTrigger, State::Starting(_) | State::Running | State::Stopping(_)) => {
                self.triggered = Some(now);
            }
            _ => {}
        }
    }

    fn fed(&mut self, now: Instant) {
        self.alive_by = self.watchdog.map(|time| later(now, time));
    }

    /// No deadline counts from now on: nothing may happen to an app that a frozen disk holds, and no shutdown may thaw it.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Deadlines count again, each from its beginning: the app could do nothing meanwhile.
    pub fn resume(&mut self, now: Instant) {
        if !std::mem::take(&mut self.held) {
            return;
        }
        match &mut self.state {
            State::Starting(deadline) | State::Stopping(deadline) => {
                *deadline = deadline.again(now);
            }
            State::Failed(at) => *at = later(now, self.grace),
            State::Killed(at) => *at = later(now, GONE),
            State::Running | State::GivenUp => {}
        }
        if self.alive_by.is_some() {
            self.fed(now);
        }
    }

    /// When [`Liveness::due`] has to be asked; a time that has passed means at once.
    pub fn deadline(&self) -> Option<Instant> {
        if self.held {
            return None;
        }
        let own = match self.state {
            State::Starting(deadline) | State::Stopping(deadline) => Some(deadline.at),
            State::Failed(at) | State::Killed(at) => Some(at),
            State::Running | State::GivenUp => None,
        };
        [own, self.alive_by, self.triggered]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is to be done at `now`, if anything.
    pub fn due(&mut self, now: Instant) -> Option<Step> {
        if self.held {
            return None;
        }
        let failure = match self.state {
            State::Failed(at) if at <= now => {
                self.state = State::Killed(now + GONE);
                return Some(Step::Kill);
            }
            State::Killed(at) if at <= now => {
                self.state = State::GivenUp;
                return Some(Step::GiveUp);
            }
            State::Failed(_) | State::Killed(_) | State::GivenUp => return None,
            _ if self.triggered.is_some() => Failure::Triggered,
            State::Starting(deadline) if deadline.at <= now => Failure::NotReady(deadline.length()),
            State::Stopping(deadline) if deadline.at <= now => Failure::Lingers(deadline.length()),
            _ if self.alive_by.is_some_and(|at| at <= now) => {
                Failure::Silent(self.watchdog.unwrap_or_default())
            }
            _ => return None,
        };
        self.triggered = None;
        self.alive_by = None;
        self.state = State::Failed(later(now, self.grace));
        Some(Step::Fail(failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// Every step with its time, as long as there are deadlines.
    fn steps(mut liveness: Liveness, begin: Instant) -> Vec<(u64, Step)> {
        std::iter::from_fn(|| {
            let at = liveness.deadline()?;
            Some(((at - begin).as_secs(), liveness.due(at)?))
        })
        .collect()
    }

    #[test]
    fn an_app_that_nothing_is_asked_of_has_no_deadline() {
        let now = Instant::now();
        let mut liveness = Liveness::new(now, None, None, GRACE);
        liveness.hear(now, &Notice::Watchdog);
        liveness.hear(now, &Notice::ExtendTimeout(seconds(1)));
        assert_eq!(liveness.deadline(), None);
        assert_eq!(liveness.due(now + seconds(1000)), None);
    }

    #[test]
    fn one_that_is_not_ready_in_time_is_asked_then_killed_then_left() {
        let now = Instant::now();
        let mut liveness = Liveness::new(now, Some(seconds(30)), Some(seconds(2)), GRACE);
        assert!(liveness.is_starting());
        assert_eq!(liveness.due(now + seconds(29)), None);
        let failure = Failure::NotReady(seconds(45));
        liveness.hear(now + seconds(15), &Notice::ExtendTimeout(seconds(30)));
        assert_eq!(
            steps(liveness, now),
            [
                (45, Step::Fail(failure)),
                (55, Step::Kill),
                (65, Step::GiveUp)
            ]
        );
        assert_eq!(failure.to_string(), "did not say READY=1 within 45 s");
        assert_eq!(failure.signal(), Signal::SIGTERM);
    }

    #[test]
    fn the_watchdog_begins_when_the_app_is_ready() {
        let now = Instant::now();
        let mut liveness = Liveness::new(now, Some(seconds(30)), Some(seconds(2)), GRACE);
        liveness.hear(now + seconds(5), &Notice::Ready);
        assert_eq!(liveness.deadline(), Some(now + seconds(7)));
        liveness.hear(now + seconds(6), &Notice::Watchdog);
        let failure = Failure::Silent(seconds(2));
        assert_eq!(
            steps(liveness, now).first(),
            Some(&(8, Step::Fail(failure)))
        );
        assert_eq!(failure.signal(), Signal::SIGABRT);
        let liveness = Liveness::new(now, None, Some(seconds(2)), GRACE);
        assert_eq!(liveness.deadline(), Some(now + seconds(2)));
    }

    #[test]
    fn the_app_chooses_its_interval_and_may_call_the_watchdog_itself() {
        let now = Instant::now();
        let mut liveness = Liveness::new(now, None, Some(seconds(2)), GRACE);
        liveness.hear(now, &Notice::WatchdogTime(Duration::from_millis(1500)));
        assert_eq!(
            liveness.due(now + seconds(2)),
            Some(Step::Fail(Failure::Silent(Duration::from_millis(1500))))
        );
        let mut liveness = Liveness::new(now, None, Some(seconds(2)), GRACE);
        liveness.hear(now, &Notice::WatchdogTime(Duration::ZERO));
        assert_eq!(liveness.deadline(), None);
        liveness.hear(now, &Notice::WatchdogTrigger);
        assert_eq!(
            steps(liveness, now).first(),
            Some(&(0, Step::Fail(Failure::Triggered)))
        );
    }

    #[test]
    fn one_that_says_that_it_stops_has_the_grace_period_and_no_watchdog() {
        let now = Instant::now();
        let mut liveness = Liveness::new(now, None, Some(seconds(2)), GRACE);
        liveness.hear(now, &Notice::Stopping);
        liveness.hear(now, &Notice::Stopping);
        liveness.hear(now + seconds(1), &Notice::Watchdog);
        assert_eq!(liveness.deadline(), Some(now + GRACE));
        liveness.hear(now + seconds(9), &Notice::ExtendTimeout(seconds(3)));
        let failure = Failure::Lingers(seconds(12));
        assert_eq!(
            steps(liveness, now).first(),
            Some(&(12, Step::Fail(failure)))
        );
    }

    /// Each state that has a deadline, with the seconds that it has from the moment when the deadline begins.
    fn each(now: Instant) -> Vec<(Liveness, u64, Step)> {
        let starting = Liveness::new(now, Some(seconds(30)), Some(seconds(2)), GRACE);
        let watched = Liveness::new(now, None, Some(seconds(2)), GRACE);
        let mut stopping = watched.clone();
        stopping.hear(now, &Notice::Stopping);
        let mut failed = Liveness::new(now - seconds(2), None, Some(seconds(2)), GRACE);
        failed.due(now);
        let mut killed = Liveness::new(now - seconds(2), None, Some(seconds(2)), Duration::ZERO);
        killed.due(now);
        killed.due(now);
        let mut triggered = Liveness::new(now, None, None, GRACE);
        triggered.hear(now, &Notice::WatchdogTrigger);
        vec![
            (starting, 30, Step::Fail(Failure::NotReady(seconds(30)))),
            (watched, 2, Step::Fail(Failure::Silent(seconds(2)))),
            (stopping, 10, Step::Fail(Failure::Lingers(GRACE))),
            (failed, 10, Step::Kill),
            (killed, 10, Step::GiveUp),
            (triggered, 0, Step::Fail(Failure::Triggered)),
        ]
    }

    #[test]
    fn no_deadline_passes_while_the_disk_is_frozen_and_each_begins_anew() {
        let now = Instant::now();
        for (mut liveness, time, step) in each(now) {
            liveness.hold();
            assert_eq!(liveness.deadline(), None, "{step:?}");
            assert_eq!(liveness.due(now + seconds(60)), None, "{step:?}");
            let thawed = now + seconds(60);
            liveness.resume(thawed);
            liveness.resume(thawed + seconds(1));
            assert_eq!(steps(liveness, thawed).first(), Some(&(time, step)));
        }
    }

    #[test]
    fn an_app_may_say_what_it_likes_while_the_disk_is_frozen() {
        let now = Instant::now();
        let mut liveness = Liveness::new(now, Some(seconds(30)), Some(seconds(2)), GRACE);
        liveness.hold();
        liveness.hear(now + seconds(40), &Notice::Ready);
        assert_eq!(liveness.deadline(), None);
        liveness.resume(now + seconds(60));
        assert_eq!(liveness.deadline(), Some(now + seconds(62)));
    }

    fn notice() -> impl Strategy<Value = Notice> {
        let time = || prop_oneof![0u64..20_000_000, any::<u64>()].prop_map(Duration::from_micros);
        prop_oneof![
            Just(Notice::Ready),
            Just(Notice::Reloading),
            Just(Notice::Stopping),
            Just(Notice::Watchdog),
            Just(Notice::WatchdogTrigger),
            time().prop_map(Notice::WatchdogTime),
            time().prop_map(Notice::ExtendTimeout),
        ]
    }

    proptest! {
        #[test]
        fn whatever_it_says_each_deadline_is_bounded_and_leads_on(
            ready in proptest::option::of(1u64..100), watchdog in proptest::option::of(1u64..100),
            said in proptest::collection::vec((0u64..10_000, notice()), 0..30),
        ) {
            let begin = Instant::now();
            let mut now = begin;
            let mut liveness = Liveness::new(now, ready.map(seconds), watchdog.map(seconds), GRACE);
            for (pause, notice) in said {
                now += Duration::from_millis(pause);
                liveness.hear(now, &notice);
                if liveness.deadline().is_some_and(|at| at <= now) {
                    prop_assert!(liveness.due(now).is_some());
                }
                let starting = liveness.is_starting();
                prop_assert!(!starting || liveness.deadline().is_some_and(|at| at <= begin + seconds(100) + LONGEST_EXTENSION));
            }
            // Left alone it comes to an end: no deadline that leads to nothing, and never more than three steps.
            prop_assert!(steps(liveness.clone(), begin).len() <= 3);
            while let Some(at) = liveness.deadline() {
                prop_assert!(liveness.due(at.max(now)).is_some());
            }
        }
    }
}
