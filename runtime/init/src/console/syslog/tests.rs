use super::*;
use std::sync::Arc;
use tinyboot::status::Status;
use tokio::net::TcpListener;
use tokio::time::Instant;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn record(text: &str) -> Record {
    Record {
        at: since_boot(),
        source: Source::App,
        severity: 6,
        text: text.to_owned(),
    }
}

struct Running {
    queue: Arc<Queue>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn start(target: &str) -> Option<Running> {
    let target = Target::parse(target)?;
    let (queue, stop) = (Arc::new(Queue::new()), CancellationToken::new());
    let task = tokio::spawn({
        let (queue, stop) = (queue.clone(), stop.clone());
        let board = Board::new(Status::default());
        async move { run(&queue, target, "hello".into(), board, stop).await }
    });
    Some(Running { queue, stop, task })
}

async fn soon<T>(work: impl Future<Output = T>) -> Result<T, tokio::time::error::Elapsed> {
    timeout(Duration::from_secs(30), work).await
}

async fn datagram(socket: &UdpSocket) -> Result<String, Box<dyn std::error::Error>> {
    let mut buffer = [0; 4096];
    let length = soon(socket.recv(&mut buffer)).await??;
    Ok(String::from_utf8(
        buffer.get(..length).unwrap_or_default().to_vec(),
    )?)
}

/// One message by its length.
async fn framed(stream: &mut TcpStream) -> Result<String, Box<dyn std::error::Error>> {
    let mut length = String::new();
    loop {
        match soon(stream.read_u8()).await?? {
            b' ' => break,
            digit => length.push(digit.into()),
        }
    }
    let mut message = vec![0; length.parse()?];
    soon(stream.read_exact(&mut message)).await??;
    Ok(String::from_utf8(message)?)
}

#[tokio::test]
async fn lines_go_out_as_datagrams_and_the_last_ones_before_the_end() -> Outcome {
    let receiver = UdpSocket::bind("127.0.0.1:0").await?;
    let running = start(&format!("udp://{}", receiver.local_addr()?)).ok_or("no target")?;
    running.queue.push(&record("one"));
    let message = datagram(&receiver).await?;
    assert!(message.starts_with("<14>1 2"), "{message}");
    assert!(
        message.ends_with(" hello - - [timeQuality tzKnown=\"1\" isSynced=\"0\"] one"),
        "{message}"
    );
    running.queue.push(&record("two"));
    running.stop.cancel();
    assert!(datagram(&receiver).await?.ends_with("] two"));
    soon(running.task).await??;
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_comes_late_gets_what_waited() -> Outcome {
    let address = UdpSocket::bind("127.0.0.1:0").await?.local_addr()?;
    let running = start(&format!("udp://{address}")).ok_or("no target")?;
    // Nobody takes the first; that is told at the second, which is kept.
    for text in ["one", "two", "three"] {
        running.queue.push(&record(text));
    }
    let taken = async {
        while running.queue.waiting.lock().map_or(0, |w| w.records.len()) > 1 {
            tokio::task::yield_now().await;
        }
    };
    soon(taken).await?;
    let receiver = UdpSocket::bind(address).await?;
    let mut texts = Vec::new();
    while texts.last() != Some(&"three".to_owned()) {
        let message = datagram(&receiver).await?;
        texts.push(message.rsplit("] ").next().unwrap_or_default().to_owned());
    }
    assert!(
        texts.contains(&"two".to_owned()) || texts == ["three"],
        "{texts:?}"
    );
    running.stop.cancel();
    soon(running.task).await??;
    Ok(())
}

#[tokio::test]
async fn a_stream_that_ends_is_opened_again_and_nothing_waits_for_it() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let running = start(&format!("tcp://{}", listener.local_addr()?)).ok_or("no target")?;
    running.queue.push(&record("grüße"));
    let (mut stream, _) = soon(listener.accept()).await??;
    assert!(framed(&mut stream).await?.ends_with("] grüße"));
    drop(stream);
    // Until the end is noticed a line can be lost in the stream that is closed: only a later one has to arrive.
    let again = async {
        loop {
            running.queue.push(&record("again"));
            if let Ok(accepted) = timeout(Duration::from_millis(50), listener.accept()).await {
                return accepted;
            }
        }
    };
    let (mut stream, _) = soon(again).await??;
    assert!(framed(&mut stream).await?.ends_with("] again"));

    // A server that reads nothing: the queue fills up and the rest is counted.
    let long = "x".repeat(1000);
    let begin = std::time::Instant::now();
    let mut pushed = 0_u64;
    while running.queue.waiting.lock().map_or(0, |w| w.dropped) == 0 {
        running.queue.push(&record(&long));
        pushed += 1;
        if pushed.is_multiple_of(100) {
            tokio::task::yield_now().await;
        }
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
    running.queue.push(&record(&long));
    // Now it reads: all that was kept, then how much was not.
    let mut arrived = 0;
    let lost = loop {
        let message = framed(&mut stream).await?;
        if message.contains("lines were not sent") {
            break message;
        }
        arrived += u64::from(message.ends_with(&long));
    };
    assert!(lost.starts_with("<28>1 "), "{lost}");
    let count: u64 = lost
        .rsplit("log: ")
        .next()
        .and_then(|text| text.split(' ').next())
        .ok_or("no number")?
        .parse()?;
    assert_eq!(arrived + count, pushed + 1);
    running.stop.cancel();
    soon(running.task).await??;
    Ok(())
}

#[tokio::test]
async fn a_server_that_does_not_answer_holds_the_end_up_for_a_second() -> Outcome {
    // Its queue of connections is full: it drops every further SYN.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(0)?;
    let address = socket.local_addr()?.as_socket().ok_or("no address")?;
    let mut fillers = Vec::new();
    while let Ok(filler) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        fillers.push(filler?);
    }
    let running = start(&format!("tcp://{address}")).ok_or("no target")?;
    running.queue.push(&record("one"));
    while running.queue.waiting.lock().map_or(0, |w| w.records.len()) > 0 {
        tokio::task::yield_now().await;
    }
    let begin = Instant::now();
    running.stop.cancel();
    soon(running.task).await??;
    let took = begin.elapsed();
    assert!(took < LAST_WORDS + Duration::from_millis(500), "{took:?}");
    Ok(())
}

#[tokio::test]
async fn the_line_that_is_being_sent_at_the_end_is_not_lost() -> Outcome {
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let running = start(&format!("tcp://{address}")).ok_or("no target")?;
    running.queue.push(&record("one"));
    running.queue.push(&record("two"));
    while running.queue.waiting.lock().map_or(0, |w| w.records.len()) > 1 {
        tokio::task::yield_now().await;
    }
    // It was refused, and waits for its next attempt.
    sleep(Duration::from_millis(100)).await;
    let listener = TcpListener::bind(address).await?;
    running.stop.cancel();
    let (mut stream, _) = soon(listener.accept()).await??;
    assert!(framed(&mut stream).await?.ends_with("] one"));
    assert!(framed(&mut stream).await?.ends_with("] two"));
    soon(running.task).await??;
    Ok(())
}

#[tokio::test]
async fn a_server_of_datagrams_that_moved_is_found_again() -> Outcome {
    let [old, new] = [
        UdpSocket::bind("127.0.0.1:0").await?,
        UdpSocket::bind("127.0.0.1:0").await?,
    ];
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(old.local_addr()?).await?;
    let looked_up = Instant::now().checked_sub(FRESH).ok_or("too early")?;
    let sender = Sender {
        target: Target::parse(&format!("udp://{}", new.local_addr()?)).ok_or("no target")?,
        app: "hello".into(),
        board: Board::new(Status::default()),
        sink: Some(Sink::Udp(socket, looked_up)),
        complaint: false,
    };
    let (queue, stop) = (Queue::new(), CancellationToken::new());
    queue.push(&record("one"));
    queue.push(&record("two"));
    let received = async {
        assert!(datagram(&new).await?.ends_with("] one"));
        datagram(&new).await
    };
    tokio::select! {
        () = send_all(&queue, sender, &stop) => return Err("it ended".into()),
        message = received => assert!(message?.ends_with("] two")),
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_talks_is_not_listened_to_for_ever() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let stream = TcpStream::connect(listener.local_addr()?).await?;
    let (mut server, _) = listener.accept().await?;
    let mut sink = Sink::Tcp(stream, IGNORED);
    server.write_all(&[b'x'; 3 * IGNORED]).await?;
    let reading = async {
        loop {
            let ended = timeout(Duration::from_millis(1), closed(Some(&mut sink))).await;
            assert!(ended.is_err(), "it has not ended");
            if matches!(sink, Sink::Tcp(_, 0)) {
                return sink;
            }
        }
    };
    let Sink::Tcp(mut stream, _) = soon(reading).await? else {
        return Err("another sink".into());
    };
    // The rest waits, and the server with it.
    let mut rest = [0; 2 * IGNORED];
    soon(stream.read_exact(&mut rest)).await??;
    Ok(())
}

#[test]
fn the_queue_is_bounded_and_a_closed_one_is_empty() {
    let queue = Queue::new();
    for _ in 0..100_000 {
        queue.push(&record("line"));
    }
    let full = || {
        let waiting = queue.waiting.lock().ok()?;
        Some((waiting.records.len() * (COST + 4), waiting.dropped))
    };
    assert!(full().is_some_and(|(bytes, dropped)| bytes <= ROOM && dropped > 90_000));
    queue.close();
    queue.push(&record("late"));
    assert!(full().is_some_and(|(bytes, _)| bytes == 0));
}
