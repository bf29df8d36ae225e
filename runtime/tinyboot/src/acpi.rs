//! Waiting for the power button and its like.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::machine::{Paths, action};
use crate::status::Action;
use crate::watch::Watch;

/// Waits until power-off or reboot is asked for and says which; `None` when `token` was cancelled before.
///
/// This is for a program that wants to know that and nothing else; with a [`Machine`](crate::Machine) at hand, its token
/// and [`Machine::action`](crate::Machine::action) say the same. Init answers the request: the program has nothing to
/// do but to end within the grace period. On an ordinary machine SIGINT and SIGTERM count as a request for power-off; on
/// a tinyboot machine a signal from somewhere else than init is no request and the wait goes on.
///
/// SIGINT and SIGTERM do not end the process by themselves any more from the first poll on. Dropping the future before
/// it has ended gives up the wait and has no other effect.
///
/// # Errors
///
/// Those of [`configure`](crate::configure), at the first poll.
///
/// ```no_run
/// # async fn example() -> Result<(), tinyboot::Error> {
/// let token = tinyboot::CancellationToken::new();
/// match tinyboot::wait_acpi(&token).await? {
///     Some(action) => println!("{action} was asked for"),
///     None => println!("the wait was given up"),
/// }
/// # Ok(())
/// # }
/// ```
pub async fn wait_acpi(token: &CancellationToken) -> Result<Option<Action>, Error> {
    wait(&Paths::from_environment(), token).await
}

async fn wait(paths: &Paths, token: &CancellationToken) -> Result<Option<Action>, Error> {
    tokio::runtime::Handle::try_current().map_err(Error::NoRuntime)?;
    let (watch, status) = Watch::new(paths.status.as_deref())?;
    let on_tinyboot = watch.has_status();
    if let Some(shutdown) = &status.shutdown {
        return Ok(Some(shutdown.action));
    }
    let stop = CancellationToken::new();
    let (sender, mut status) = watch::channel(status);
    let asked = async {
        if on_tinyboot {
            let _ = status.wait_for(|status| status.shutdown.is_some()).await;
        } else {
            stop.cancelled().await;
        }
    };
    tokio::select! {
        biased;
        () = token.cancelled() => return Ok(None),
        () = asked => {}
        () = watch.follow(sender, stop.clone()) => {}
    }
    Ok(action(&status.borrow(), on_tinyboot, &stop))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::machine::testing::Init;
    use crate::status::Status;

    #[tokio::test]
    async fn a_cancelled_token_ends_the_wait() {
        let init = Init::new();
        init.publish(&Status::default());
        let token = CancellationToken::new();
        token.cancel();
        assert_eq!(wait(&init.paths(), &token).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_request_made_before_counts() {
        let init = Init::new();
        init.publish(&init.stopping(Action::Reboot));
        assert_eq!(
            wait(&init.paths(), &CancellationToken::new())
                .await
                .unwrap(),
            Some(Action::Reboot)
        );
    }

    /// Waits, lets `meanwhile` happen, and says how the wait ended.
    async fn wait_while(
        init: &Init,
        token: &CancellationToken,
        meanwhile: impl FnOnce(),
    ) -> Option<Action> {
        init.publish(&Status::default());
        let paths = init.paths();
        let happens = async {
            tokio::task::yield_now().await;
            meanwhile();
        };
        let both = async { tokio::join!(wait(&paths, token), happens).0 };
        timeout(Duration::from_secs(20), both)
            .await
            .unwrap()
            .unwrap()
    }

    #[tokio::test]
    async fn a_request_made_while_waiting_counts() {
        for asked in [Action::PowerOff, Action::Reboot] {
            let init = Init::new();
            let token = CancellationToken::new();
            let action = wait_while(&init, &token, || init.publish(&init.stopping(asked))).await;
            assert_eq!(action, Some(asked));
        }
    }

    #[tokio::test]
    async fn a_token_cancelled_while_waiting_ends_the_wait() {
        let (init, token) = (Init::new(), CancellationToken::new());
        assert_eq!(wait_while(&init, &token, || token.cancel()).await, None);
    }
}
