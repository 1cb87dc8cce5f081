//! The agent's tunnels against socat: the same bytes from the same sender to the same port, once through a published port
//! (client, Unix socket, agent) and once through one relay.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use fs_err as fs;

use crate::{
    bench::{
        lab::Lab,
        record::{Bench, Goal, Series},
    },
    command::{Beside, Command},
    interrupt, product, report,
};

const SENDING: Duration = Duration::from_secs(2);
const PIECE: usize = 256 * 1024;
const ROUND_TRIPS: usize = 5_000;
const WARM_UP: usize = 500;
const CONNECTIONS: u32 = 1_000;
/// A connection that says nothing for so long is broken.
const SILENCE: Duration = Duration::from_secs(20);
/// The first byte says what the port is to do with the others: count them, or send them back.
const COUNT: u8 = b'c';
const ECHO: u8 = b'e';

/// A way to the port.
struct Way {
    name: &'static str,
    port: u16,
    /// What makes it; ends with it.
    _programs: Vec<Beside>,
}

/// Measures each way, each repeat beginning with another one.
///
/// # Errors
/// When a program cannot be started, or bytes do not arrive.
pub(super) fn run(lab: &Lab) -> anyhow::Result<Bench> {
    let target = serve()?;
    let ways = [
        Way { name: "directly", port: target, _programs: Vec::new() },
        ours(lab, target)?,
        socat("socat", target, &[])?,
        socat("socat -b 131072", target, &["-b", "131072"])?,
    ];
    let of = |what: &str, unit| ways.each_ref().map(|way| Series::new(format!("{what}, {}", way.name), unit));
    let (mut speed, mut trip) = (of("throughput", "MB/s"), of("round trip of 64 bytes, p50", "µs"));
    let mut together = Series::new(format!("{CONNECTIONS} connections at once, all answered"), "s");
    let mut lost = 0;
    for repeat in 0..lab.repeats() {
        for turn in 0..ways.len() {
            let number = (repeat + turn) % ways.len();
            let way = &ways[number];
            speed[number].samples.push(throughput(way.port).with_context(|| way.name)?);
            trip[number].samples.push(round_trip(way.port).with_context(|| way.name)?);
            say(way, &speed[number], &trip[number]);
        }
        let (seconds, missing) = many(ways[1].port)?;
        together.samples.push(seconds);
        lost += missing;
    }
    let goals = goals(&speed, &trip, lost)?;
    let method = format!(
        "one connection, pieces of {PIECE} bytes for {} s, until the port has said that all came; then {ROUND_TRIPS} round trips one \
         after the other, after {WARM_UP} that do not count; then {CONNECTIONS} connections, opened one after the other, that all stay \
         open until the last one was answered. Sender and port are threads of one process; all on 127.0.0.1, without Nagle's algorithm; \
         ways in turn",
        SENDING.as_secs()
    );
    let series = speed.into_iter().chain(trip).chain([together]).collect();
    Ok(Bench { name: "tunnel", method, series, goals })
}

fn say(way: &Way, speed: &Series, trip: &Series) {
    if let (Some(speed), Some(trip)) = (speed.samples.last(), trip.samples.last()) {
        report::line(format_args!("  {:<16} {speed:>6.0} MB/s {trip:>6.1} µs", way.name));
    }
}

fn goals(speed: &[Series; 4], trip: &[Series; 4], lost: u32) -> anyhow::Result<Vec<Goal>> {
    let [_, ours, socat, large] = [0, 1, 2, 3].map(|way: usize| speed[way].median());
    let (ours, socat, large) = (ours?, socat?, large?);
    Ok(vec![
        Goal::at_most("throughput: socat's by the tunnel's", socat / ours, 1.0 / 0.6),
        Goal::at_most("throughput: socat's with blocks of 128 KiB by the tunnel's", large / ours, 1.0 / 0.6),
        Goal::at_most(
            "round trip: added by the tunnel at p50, µs",
            trip[1].median()? - trip[0].median()?,
            100.0,
        ),
        Goal::at_most(format!("connections of {CONNECTIONS} that lost bytes"), f64::from(lost), 0.0),
    ])
}

/// A published port, by an agent of its own.
fn ours(lab: &Lab, target: u16) -> anyhow::Result<Way> {
    let agent = product::agent()?.display().to_string();
    let folder = lab.scratch().join("tunnel");
    fs::create_dir_all(&folder)?;
    let (folder, socket) = (folder.display().to_string(), folder.join("agent.sock").display().to_string());
    let served =
        Command::new([agent.as_str(), "serve", "--runtime", &folder, "--state", &folder]).beside()?;
    let port = free_port()?;
    let spec = format!("tcp/{port}:127.0.0.1:{target}");
    // It waits for the agent itself.
    let published =
        Command::new([agent.as_str(), "tunnel", "publish", "--address", &socket, &spec]).beside()?;
    answered(port)?;
    Ok(Way { name: "tunnel", port, _programs: vec![published, served] })
}

fn socat(name: &'static str, target: u16, options: &[&str]) -> anyhow::Result<Way> {
    let port = free_port()?;
    let listen = format!("TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,nodelay");
    let dial = format!("TCP:127.0.0.1:{target},nodelay");
    let argv = ["socat"].iter().chain(options).copied().chain([listen.as_str(), dial.as_str()]);
    let relay = Command::new(argv).beside()?;
    answered(port)?;
    Ok(Way { name, port, _programs: vec![relay] })
}

/// A port that nobody uses now.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until somebody listens there.
fn answered(port: u16) -> anyhow::Result<()> {
    let deadline = Instant::now() + SILENCE;
    while let Err(error) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
        anyhow::ensure!(Instant::now() < deadline, "nobody listens at port {port}: {error}");
        interrupt::pause(Duration::from_millis(20))?;
    }
    Ok(())
}

/// The port at the other end: a thread for each connection, as long as this process lives.
fn serve() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            // One that breaks is missed by the sender, who says so.
            std::thread::spawn(move || answer(connection).unwrap_or_default());
        }
    });
    Ok(port)
}

fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut first = [0];
    connection.read_exact(&mut first)?;
    // A thousand of these: the pages of a large buffer are only taken when they are written.
    let mut buffer = vec![0; PIECE];
    let mut came = 0_u64;
    loop {
        let read = connection.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        came += read as u64;
        if first[0] == ECHO {
            connection.write_all(&buffer[..read])?;
        }
    }
    if first[0] == COUNT { connection.write_all(&came.to_le_bytes()) } else { Ok(()) }
}

fn connect(port: u16, what: u8) -> anyhow::Result<TcpStream> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(SILENCE))?;
    connection.write_all(&[what])?;
    Ok(connection)
}

/// Megabytes a second, one way.
fn throughput(port: u16) -> anyhow::Result<f64> {
    let mut connection = connect(port, COUNT)?;
    let piece = vec![7; PIECE];
    let (begun, mut sent) = (Instant::now(), 0_u64);
    while begun.elapsed() < SENDING {
        connection.write_all(&piece)?;
        sent += piece.len() as u64;
    }
    connection.shutdown(Shutdown::Write)?;
    let mut came = [0; 8];
    connection.read_exact(&mut came)?;
    let seconds = begun.elapsed().as_secs_f64();
    anyhow::ensure!(u64::from_le_bytes(came) == sent, "{} of {sent} bytes came", u64::from_le_bytes(came));
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    Ok(sent as f64 / seconds / 1e6)
}

/// Microseconds at p50.
fn round_trip(port: u16) -> anyhow::Result<f64> {
    let mut connection = connect(port, ECHO)?;
    let mut bytes = [7; 64];
    let mut micros = Vec::with_capacity(ROUND_TRIPS);
    for number in 0..WARM_UP + ROUND_TRIPS {
        let begun = Instant::now();
        connection.write_all(&bytes)?;
        connection.read_exact(&mut bytes)?;
        if number >= WARM_UP {
            micros.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    micros.sort_by(f64::total_cmp);
    Ok(micros[micros.len() / 2])
}

/// Seconds until all are answered, and how many were not with their own bytes.
fn many(port: u16) -> anyhow::Result<(f64, u32)> {
    let begun = Instant::now();
    let mut open = Vec::new();
    for number in 0..CONNECTIONS {
        let mut connection = connect(port, ECHO)?;
        connection.write_all(&number.to_le_bytes())?;
        open.push(connection);
    }
    let mut missing = 0;
    for (number, connection) in (0_u32..).zip(&mut open) {
        let mut came = [0; 4];
        let answered = connection.read_exact(&mut came);
        missing += u32::from(answered.is_err() || u32::from_le_bytes(came) != number);
    }
    let seconds = begun.elapsed().as_secs_f64();
    report::line(format_args!("  {CONNECTIONS} connections: {seconds:.2} s, {missing} without their bytes"));
    Ok((seconds, missing))
}
