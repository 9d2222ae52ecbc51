//! Misbehaves on demand, for the tests of the sandbox. The first word of a message says how, the rest is its argument;
//! the configuration keys `init`, `window` and `before-stop` do the same for those calls.
//!
//! Whatever it finds out it sends as a message to `out.log`, or puts into an error.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use exports::shardmill::task::processor::{Envelope, TaskError};
use exports::shardmill::task::{lifecycle, processor, windowing};
use shardmill::task::log::Level;
use shardmill::task::{collector, config, context, coordinator, log};
use wasip2::clocks::monotonic_clock;
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip2::io::poll::poll;

wit_bindgen::generate!({
    path: "../../wit/shardmill-task-0.1.0",
    inline: "
        package samples:hostile;

        world hostile {
            import wasi:random/random@0.2.6;
            include shardmill:task/task@0.1.0;
            export shardmill:task/lifecycle@0.1.0;
            export shardmill:task/windowing@0.1.0;
        }

        package wasi:random@0.2.6 {
            interface random {
                get-random-bytes: func(len: u64) -> list<u8>;
                get-random-u64: func() -> u64;
            }
        }
    ",
    world: "samples:hostile/hostile",
    generate_all,
});

struct Hostile;

export!(Hostile);

thread_local! {
    static CALLS: Cell<u32> = const { Cell::new(0) };
    static HOARD: RefCell<Vec<Descriptor>> = const { RefCell::new(Vec::new()) };
}

impl lifecycle::Guest for Hostile {
    fn init() -> Result<(), String> {
        config::get("init").map_or(Ok(()), |order| act(&order).map_err(|error| format!("{error:?}")))
    }

    fn before_stop() -> Result<(), String> {
        config::get("before-stop").map_or(Ok(()), |order| act(&order).map_err(|error| format!("{error:?}")))
    }
}

impl windowing::Guest for Hostile {
    fn window(start_ms: u64, end_ms: u64) -> Result<(), TaskError> {
        send(format!("window {start_ms} {end_ms}"))?;
        config::get("window").map_or(Ok(()), |order| act(&order))
    }
}

impl processor::Guest for Hostile {
    fn process(envelope: Envelope) -> Result<(), TaskError> {
        CALLS.set(CALLS.get() + 1);
        let order = str::from_utf8(&envelope.message).map_err(|error| TaskError::Reject(error.to_string()))?;
        if order == "describe" { describe(&envelope) } else { act(order) }
    }
}

/// Sends the envelope and the context as text.
fn describe(envelope: &Envelope) -> Result<(), TaskError> {
    let Envelope { source, sequence, sub_sequence, key, arrival_ms, .. } = envelope;
    let at = context::source(*source).map(|at| format!("{}.{}.{}", at.system, at.stream_name, at.partition));
    send(format!("{at:?} {sequence} {sub_sequence} {key:?} {arrival_ms}"))?;
    let job = format!("{}-{} {}", context::job_name(), context::job_id(), context::task_name());
    send(format!("{job} attempt {} {:?}", context::attempt(), context::attribute(0, "none")))?;
    send(format!("{} {:?}", context::module_id(), context::source(1_000_000).is_none()))
}

fn act(order: &str) -> Result<(), TaskError> {
    let (order, argument) = order.split_once(' ').unwrap_or((order, ""));
    match order {
        "send" => return send(argument),
        "calls" => return send(CALLS.get().to_string()),
        "log" => log::log(Level::Error, argument),
        "print" => println!("{argument}"),
        "eprint" => eprintln!("{argument}"),
        "commit" => coordinator::commit(),
        "shutdown" => coordinator::shutdown(argument),
        "retry" => return Err(TaskError::Retry(argument.parse().ok())),
        "reject" => return Err(TaskError::Reject(argument.into())),
        "fatal" => return Err(TaskError::Fatal(argument.into())),
        "other" => return Err(TaskError::Other(argument.into())),
        "send-then" => {
            send("sent before")?;
            coordinator::commit();
            coordinator::shutdown("before");
            return act(argument);
        }
        "trap" => core::arch::wasm32::unreachable(),
        "panic" => panic!("{argument}"),
        "exit" => std::process::exit(3),
        "spin" => loop {
            black_box(());
        },
        "naps" => loop {
            std::thread::sleep(Duration::from_millis(1));
        },
        "not-text" => return not_text(argument),
        "sleep" => std::thread::sleep(Duration::from_secs(3600)),
        "wait-for" => wait_for(argument),
        "spin-then-sleep" => {
            let mut ms = argument.split(' ').map(|ms| Duration::from_millis(ms.parse().unwrap_or(0)));
            let (spin, sleep) = (ms.next().unwrap_or_default(), ms.next().unwrap_or_default());
            let began = Instant::now();
            while began.elapsed() < spin {}
            std::thread::sleep(sleep);
        }
        "recurse" => drop(black_box(recurse(0))),
        "memory-bomb" => memory_bomb(),
        flood if flood.ends_with("-flood") => return self::flood(flood, argument),
        probe => return self::probe(probe, argument),
    }
    Ok(())
}

/// Waits in the host for what does not come soon.
fn wait_for(what: &str) {
    const HOUR_NS: u64 = 3_600_000_000_000;
    match what {
        "clocks" => {
            let clocks: Vec<_> = (1..=1000).map(|times| monotonic_clock::subscribe_duration(times * HOUR_NS)).collect();
            drop(poll(&clocks.iter().collect::<Vec<_>>()));
        }
        // As many waits as fit in, none of which is too long.
        "moments" => loop {
            monotonic_clock::subscribe_duration(20_000_000).block();
        },
        _one_clock => monotonic_clock::subscribe_duration(HOUR_NS).block(),
    }
}

/// Gives the host bytes as text that are none.
fn not_text(what: &str) -> Result<(), TaskError> {
    // SAFETY: none, that is the point; only the host looks at it.
    let text = unsafe { str::from_utf8_unchecked(black_box(b"\xff\xfe")) };
    match what {
        "log" => log::log(Level::Info, text),
        "key" => collector::send(output()?, Some(text), b"").map_err(refused)?,
        "output" => drop(collector::output(text)),
        "reason" => coordinator::shutdown(text),
        "config" => drop(config::get(text)),
        _ => return Err(TaskError::Other(text.to_owned())),
    }
    Ok(())
}

/// Floods, until refused or for as long as it is asked to.
fn flood(what: &str, argument: &str) -> Result<(), TaskError> {
    let big = || "x".repeat(argument.parse().unwrap_or(0));
    match what {
        "count-flood" => while send("").is_ok() {},
        "bytes-flood" => {
            let message = big();
            while send(&message).is_ok() {}
        }
        "giant-flood" => return send(big()),
        "key-flood" => return collector::send(output()?, Some(&big()), b"").map_err(refused),
        "log-flood" => (0..100_000).for_each(|line| log::log(Level::Info, &format!("line {line}"))),
        "line-flood" => log::log(Level::Info, &big()),
        "print-flood" => (0..100_000).for_each(|line| println!("line {line}")),
        "eprint-flood" => eprint!("{}", big()),
        "random-flood" => drop(wasi::random::random::get_random_bytes(argument.parse().unwrap_or(0))),
        "reason-flood" => coordinator::shutdown(&big()),
        "name-flood" => {
            let name = |index: u32| collector::output(&format!("out.{index}"));
            let error = (0..).find_map(|index| name(index).err().map(|error| (index, error)));
            return Err(TaskError::Other(format!("{error:?}")));
        }
        unknown => return Err(TaskError::Fatal(format!("no flood {unknown}"))),
    }
    Ok(())
}

/// Tries something that is not allowed and tells what came of it.
fn probe(what: &str, argument: &str) -> Result<(), TaskError> {
    send(match what {
        "files" => format!("{:?} {:?}", std::fs::read(argument).err(), std::fs::write("x", "y").err()),
        "network" => format!("{:?}", std::net::TcpStream::connect(argument).err()),
        "environment" => format!("{:?} {:?}", std::env::vars().count(), std::env::args().count()),
        "read" => format!("{:?}", std::fs::read_to_string(argument).map_err(|error| error.kind())),
        "fill" => {
            let mut file = std::fs::File::create(argument).map_err(|error| TaskError::Other(error.to_string()))?;
            let (mut written, chunk) = (0, [b'x'; 1000]);
            let error = loop {
                match file.write(&chunk) {
                    Ok(bytes) => written += bytes,
                    Err(error) => break error,
                }
            };
            format!("{written} {error}")
        }
        "raw" => raw(argument),
        "make-files" => make_files(argument),
        "write" => format!("{:?}", std::fs::write(argument, "written").map_err(|error| error.kind())),
        "variable" => format!("{:?}", std::env::var(argument).ok()),
        "stdin" => format!("{:?}", std::io::read_to_string(std::io::stdin())),
        "output" => format!("{:?}", collector::output(argument)),
        "send-to" => format!("{:?}", collector::send(argument.parse().unwrap_or(0), None, b"")),
        unknown => return Err(TaskError::Fatal(format!("no behaviour {unknown}"))),
    })
}

/// A call of `wasi:filesystem` in the directory `/in`, past the C library: what was asked for is what the host is asked.
fn raw(order: &str) -> String {
    let directories = preopens::get_directories();
    let Some((at, _)) = directories.iter().find(|(_, path)| path == "/in") else { return "no /in".to_owned() };
    let words: Vec<&str> = order.split(' ').collect();
    let number = |word: &str| word.parse().unwrap_or(0);
    let open = |path: &str, how: OpenFlags| at.open_at(PathFlags::empty(), path, how, DescriptorFlags::WRITE);
    let done = match words[..] {
        ["symlink", to, path] => at.symlink_at(to, path),
        ["link", old, new] => at.link_at(PathFlags::empty(), old, at, new),
        ["rename", old, new] => at.rename_at(old, at, new),
        ["rename-to", old, directory, new] => at
            .open_at(PathFlags::empty(), directory, OpenFlags::DIRECTORY, DescriptorFlags::READ)
            .and_then(|to| at.rename_at(old, &to, new)),
        ["mkdir", path] => at.create_directory_at(path),
        ["rmdir", path] => at.remove_directory_at(path),
        ["unlink", path] => at.unlink_file_at(path),
        ["set-size", path, size] => open(path, OpenFlags::CREATE).and_then(|file| file.set_size(number(size))),
        ["truncate", path] => open(path, OpenFlags::TRUNCATE).map(drop),
        ["write-at", path, offset] => {
            open(path, OpenFlags::CREATE).and_then(|file| file.write(b"x", number(offset)).map(drop))
        }
        ["stream-at", path, offset] => open(path, OpenFlags::CREATE).and_then(|file| {
            let stream = file.write_via_stream(number(offset))?;
            stream.blocking_write_and_flush(b"x").map_err(|_| ErrorCode::Io)
        }),
        // Writes without waiting for the host in between.
        ["stream-on", path, count] => open(path, OpenFlags::CREATE).and_then(|file| {
            let stream = file.append_via_stream()?;
            for _ in 0..number(count) {
                while stream.check_write().map_err(|_| ErrorCode::Io)? < 1000 {
                    stream.subscribe().block();
                }
                stream.write(&[b'x'; 1000]).map_err(|_| ErrorCode::Io)?;
            }
            stream.blocking_flush().map_err(|_| ErrorCode::Io)
        }),
        // Removes the file while it is open, and goes on with the next.
        ["hoard", count, size] => (0..number(count)).try_for_each(|_| {
            let file = open("hoarded", OpenFlags::CREATE)?;
            let kept = file.set_size(number(size)).and_then(|()| at.unlink_file_at("hoarded"));
            HOARD.with_borrow_mut(|hoard| hoard.push(file));
            kept
        }),
        ["let-go"] => {
            HOARD.take();
            Ok(())
        }
        _ => return format!("no call {order}"),
    };
    done.map_or_else(|error| error.name().to_owned(), |()| "ok".to_owned())
}

/// Makes as many files as it may.
fn make_files(directory: &str) -> String {
    let make = |index: &u32| std::fs::write(format!("{directory}/{index}"), "").is_ok();
    let made = (0..100_000).take_while(make).count();
    format!("{made} files")
}

fn output() -> Result<u32, TaskError> {
    collector::output("out.log").map_err(refused)
}

fn send(message: impl AsRef<[u8]>) -> Result<(), TaskError> {
    collector::send(output()?, None, message.as_ref()).map_err(refused)
}

fn refused(error: collector::SendError) -> TaskError {
    TaskError::Other(format!("refused: {error:?}"))
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth + 1)) + 1)
}

fn memory_bomb() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1_u8; 1 << 20]));
    }
}
