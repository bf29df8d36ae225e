//! The hypervisor's clock, and a machine that stood still.

use tokio::time::Instant;

use super::*;

const HOST: Host = Host {
    source: "ptp kvm",
    offset: 0,
    error: Duration::from_micros(1),
};

#[test]
fn the_boot_takes_the_hypervisors_clock_but_none_before_the_floor() {
    let machine = Fake::at(978_307_200);
    let offset = (TRUTH - 978_307_200) * NANOSECONDS;
    machine.with(|hands| hands.host = Some(Host { offset, ..HOST }));
    assert_eq!(start_on(&machine, &settings(0)), "ptp kvm");
    assert_eq!(machine.now(), TRUTH * NANOSECONDS);
    machine.with(|hands| hands.host = Some(HOST));
    assert_eq!(start_on(&machine, &settings(TRUTH)), "ptp kvm");

    let machine = Fake::at(0);
    machine.with(|hands| hands.host = Some(Host { offset: -5, ..HOST }));
    assert_eq!(start_on(&machine, &settings(TRUTH)), "floor");
    assert_eq!(machine.now(), TRUTH * NANOSECONDS);
}

#[test]
fn with_the_hypervisors_clock_no_server_is_asked_until_it_is_gone() -> Outcome {
    isolated(
        "clock::tests::pauses::with_the_hypervisors_clock_no_server_is_asked_until_it_is_gone",
        &[],
        async |world| {
            let asked = serve(2, TRUTH)?;
            let asked = || *asked.lock().unwrap_or_else(PoisonError::into_inner);
            lease(&world).await?;
            let machine = Fake::at(TRUTH);
            let offset = 7 * NANOSECONDS;
            machine.with(|hands| hands.host = Some(Host { offset, ..HOST }));
            let task = keeper(&world, &machine, settings(0));
            let status = world
                .until("synchronisation", |status| status.clock.synchronized)
                .await?;
            assert_eq!(status.clock.source, "ptp kvm");
            assert_eq!((machine.now(), asked()), ((TRUTH + 7) * NANOSECONDS, 0));
            task.abort();

            // A small difference is slewed, a jump wants to be seen twice.
            let mut keeper = asker(&world, &machine);
            machine.with(|hands| hands.host = Some(HOST));
            keeper.look().await;
            machine.with(|hands| hands.host = Some(Host { offset, ..HOST }));
            keeper.look().await;
            assert_eq!(machine.now(), (TRUTH + 7) * NANOSECONDS);
            keeper.look().await;
            assert_eq!(machine.now(), (TRUTH + 14) * NANOSECONDS);
            assert!(!keeper.asks_servers());

            machine.with(|hands| hands.host = None);
            keeper.look().await;
            assert!(keeper.asks_servers() && keeper.ask_at <= Instant::now());
            assert_eq!(round(&mut keeper).await, Round::Doubtful);
            assert_eq!(round(&mut keeper).await, Round::Done);
            assert_eq!(machine.now(), TRUTH * NANOSECONDS);
            assert!(asked() >= 2);
            Ok(())
        },
    )
}

/// Lets the fake machine run for some seconds, and the RTC for some more.
fn pass(machine: &Fake, running: i64, paused: i64) {
    machine.with(|hands| {
        let reading = hands.reading.get_or_insert(Reading {
            rtc: TRUTH,
            clock: 0,
            running: 0,
        });
        reading.rtc += running + paused;
        reading.running += running * NANOSECONDS;
        hands.now += running * NANOSECONDS;
    });
}

#[test]
fn after_a_pause_servers_are_asked_at_once_and_tell_how_long_it_was() -> Outcome {
    isolated(
        "clock::tests::pauses::after_a_pause_servers_are_asked_at_once_and_tell_how_long_it_was",
        &[],
        async |world| {
            let _asked = serve(2, TRUTH + 40)?;
            lease(&world).await?;
            let machine = Fake::at(TRUTH);
            pass(&machine, 0, 0);
            let mut keeper = asker(&world, &machine);
            assert_eq!(round(&mut keeper).await, Round::Done);
            machine.with(|hands| hands.now = TRUTH * NANOSECONDS);
            let later = Instant::now() + Duration::from_secs(1024);
            keeper.ask_at = later;
            pass(&machine, 10, 0);
            keeper.look().await;
            assert_eq!(keeper.ask_at, later, "nothing has happened");
            pass(&machine, 0, 29);
            keeper.look().await;
            assert!(keeper.ask_at <= Instant::now());
            assert_eq!(round(&mut keeper).await, Round::Doubtful);
            assert_eq!(machine.now(), (TRUTH + 10) * NANOSECONDS);
            assert_eq!(round(&mut keeper).await, Round::Done);
            assert_eq!(machine.now(), (TRUTH + 40) * NANOSECONDS);
            Ok(())
        },
    )
}

/// Looks at a fake machine for some minutes.
async fn minutes(machine: &Fake, paused: i64, until: impl Fn() -> bool) {
    pass(machine, 0, paused);
    for _ in 0..300 {
        if until() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        pass(machine, 1, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_without_servers_the_rtc_sets_the_clock_forward_and_never_back() {
    let machine = Fake::at(TRUTH);
    pass(&machine, 0, 0);
    let board = Board::new(Status::default());
    let (_sender, persistent) = watch::channel(None);
    let stop = CancellationToken::new();
    let (pause, mut pauses) = watch::channel(());
    let keeper = Keeper::new(
        machine.clone(),
        settings(0),
        board.clone(),
        persistent,
        pause,
    );
    let (_restore, restored) = watch::channel(());
    let task = tokio::spawn(keeper.run(restored, stop.clone()));
    let ahead = || {
        machine.with(|hands| {
            let running = hands.reading.map_or(0, |reading| reading.running);
            (hands.now - running).div_euclid(NANOSECONDS) - TRUTH
        })
    };
    minutes(&machine, 0, || false).await;
    assert_eq!(ahead(), 0);
    assert!(pauses.has_changed().is_ok_and(|it| !it));
    minutes(&machine, 3600, || ahead() != 0).await;
    assert_eq!(ahead(), 3600);
    assert!(pauses.has_changed().is_ok_and(|it| it));
    pauses.mark_unchanged();
    minutes(&machine, -7200, || false).await;
    assert!(
        pauses.has_changed().is_ok_and(|it| !it),
        "the RTC was set back"
    );
    assert_eq!(ahead(), 3600, "it was set back");
    assert!(!board.snapshot().clock.synchronized);
    stop.cancel();
    assert!(task.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_restored_snapshot_is_dealt_with_at_once_and_told_once() {
    let machine = Fake::at(TRUTH);
    pass(&machine, 0, 0);
    let board = Board::new(Status::default());
    let (_sender, persistent) = watch::channel(None);
    let stop = CancellationToken::new();
    let (pause, mut pauses) = watch::channel(());
    let (restore, restored) = watch::channel(());
    let keeper = Keeper::new(
        machine.clone(),
        settings(0),
        board.clone(),
        persistent,
        pause,
    );
    let task = tokio::spawn(keeper.run(restored, stop.clone()));
    minutes(&machine, 0, || false).await;
    let told = |board: &Board| {
        let status = board.snapshot().machine;
        (status.resumes, status.restores, status.resumed.is_some())
    };
    assert_eq!(told(&board), (0, 0, false));

    pass(&machine, 0, 3600);
    let before = machine.now();
    restore.send_replace(());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(machine.now() - before, 3600 * NANOSECONDS);
    assert!(pauses.has_changed().is_ok_and(|it| it));
    assert_eq!(told(&board), (1, 1, true));
    pauses.mark_unchanged();
    minutes(&machine, 0, || false).await;
    assert!(
        pauses.has_changed().is_ok_and(|it| !it),
        "it was told twice"
    );

    // A snapshot that was made a moment ago lacks nothing, but its lease may be another's.
    restore.send_replace(());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(pauses.has_changed().is_ok_and(|it| it));
    assert_eq!(told(&board), (2, 2, true));
    pauses.mark_unchanged();
    minutes(&machine, 60, || false).await;
    assert!(
        pauses.has_changed().is_ok_and(|it| it),
        "a later pause counts"
    );
    assert_eq!(told(&board), (3, 2, true));
    stop.cancel();
    assert!(task.await.is_ok());
}
