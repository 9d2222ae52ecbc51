//! Sends every message on, with its key, after the place that it came from: `shard sequence message`. With `name.stream`
//! set to true it is `system.stream/shard sequence message`.
//!
//! A message may end in an order, after a `!`: `retry`, `other`, `reject`, `fatal`, `trap`, `spin`, `flood`, `sleep` or
//! `commit`, and a number. `sleep` and `commit` are obeyed always (the number is milliseconds of sleep), the others while
//! fewer than so many attempts were made before, or always without a number.
//!
//! Configuration: `output`, where the messages go, `console.echo` unless set; `pause.ms`, how long each takes, 0 unless
//! set; `MODULE.init`, `MODULE.process` and `MODULE.before-stop`, orders that the module of that name (or of that hash, in
//! 12 digits) follows in every such call, so that one component can stand for several versions of a task, good and bad ones;
//! `MODULE.output`, where its messages go instead.
//!
//! Two more orders are about files in the directory `/gates`, if the task is given it. `gate NAME` stops at a gate that is
//! shut: while there is a file NAME, it makes NAME.reached and waits until that is removed; where it may not write, as in
//! a replay for trial, it passes. `if NAME ORDER` obeys if there is a file NAME, for which it looks now and then.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use exports::shardmill::task::{lifecycle, processor};
use processor::{Envelope, TaskError};
use shardmill::task::{collector, config, context, coordinator, log};

wit_bindgen::generate!({
    path: "../../wit/shardmill-task-0.1.0",
    inline: "
        package samples:echo;
        world echo {
            include shardmill:task/task@0.1.0;
            export shardmill:task/lifecycle@0.1.0;
        }
    ",
    world: "samples:echo/echo",
    generate_all,
});

/// Time between two looks for a file.
const LOOK_EVERY: Duration = Duration::from_millis(20);

struct Echo;

export!(Echo);

thread_local! {
    static OUTPUT: Cell<u32> = const { Cell::new(0) };
    static NAME_STREAM: Cell<bool> = const { Cell::new(false) };
    static PAUSE: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static ORDER: RefCell<Option<String>> = const { RefCell::new(None) };
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
}

impl lifecycle::Guest for Echo {
    fn init() -> Result<(), String> {
        let name = order_for("output").or_else(|| config::get("output")).unwrap_or_else(|| "console.echo".to_owned());
        OUTPUT.set(collector::output(&name).map_err(|error| format!("no output `{name}`: {error:?}"))?);
        NAME_STREAM.set(config::get("name.stream").is_some_and(|is| is == "true"));
        let pause = config::get("pause.ms").unwrap_or_else(|| "0".to_owned());
        PAUSE.set(Duration::from_millis(pause.parse().map_err(|error| format!("pause.ms: {error}"))?));
        ORDER.set(order_for("process"));
        order_for("init").map_or(Ok(()), |order| obey(&order)).map_err(|error| format!("{error:?}"))
    }

    fn before_stop() -> Result<(), String> {
        order_for("before-stop").map_or(Ok(()), |order| obey(&order)).map_err(|error| format!("{error:?}"))
    }
}

impl processor::Guest for Echo {
    fn process(envelope: Envelope) -> Result<(), TaskError> {
        let text = str::from_utf8(&envelope.message).map_err(|error| TaskError::Reject(error.to_string()))?;
        send(&envelope, text)?;
        let pause = PAUSE.get();
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        ORDER.with_borrow(|order| order.as_deref().map_or(Ok(()), obey))?;
        text.split_once('!').map_or(Ok(()), |(_, order)| obey(order))
    }
}

/// What this version is to do in every call of that name.
fn order_for(call: &str) -> Option<String> {
    let module = context::module_id();
    let (name, digits) = module.split_once('@')?;
    [name, digits].iter().find_map(|which| config::get(&format!("{which}.{call}")))
}

fn send(envelope: &Envelope, text: &str) -> Result<(), TaskError> {
    let source = context::source(envelope.source).ok_or_else(|| TaskError::Fatal("an unknown source".into()))?;
    let stream = if NAME_STREAM.get() { format!("{}.{}/", source.system, source.stream_name) } else { String::new() };
    let message = format!("{stream}{} {} {text}", source.partition, envelope.sequence);
    collector::send(OUTPUT.get(), envelope.key.as_deref(), message.as_bytes())
        .map_err(|error| TaskError::Other(format!("cannot send: {error:?}")))
}

fn obey(order: &str) -> Result<(), TaskError> {
    let (order, argument) = order.trim_end().split_once(' ').unwrap_or((order, ""));
    let number: Option<u32> = argument.parse().ok();
    match order {
        "gate" => return stop_at_gate(argument),
        "if" => return obey_if(argument),
        "sleep" => {
            // Whoever waits for the sleep to begin finds it in the log.
            log::log(log::Level::Info, "sleeping");
            std::thread::sleep(Duration::from_millis(number.unwrap_or(0).into()));
        }
        "commit" => coordinator::commit(),
        _ if number.is_some_and(|attempts| context::attempt() > attempts) => {}
        "retry" => return Err(TaskError::Retry(Some(1))),
        "other" => return Err(TaskError::Other("as told".into())),
        "reject" => return Err(TaskError::Reject("as told".into())),
        "fatal" => return Err(TaskError::Fatal("as told".into())),
        "trap" => core::arch::wasm32::unreachable(),
        "spin" => loop {
            black_box(());
        },
        "flood" => loop {
            collector::send(OUTPUT.get(), None, &[b'x'; 1000])
                .map_err(|error| TaskError::Reject(format!("flooded: {error:?}")))?;
        },
        unknown => return Err(TaskError::Fatal(format!("no order {unknown}"))),
    }
    Ok(())
}

fn stop_at_gate(name: &str) -> Result<(), TaskError> {
    let (gate, reached) = (gate(name), gate(&format!("{name}.reached")));
    if gate.exists() && std::fs::write(&reached, "").is_ok() {
        while reached.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

fn obey_if(condition: &str) -> Result<(), TaskError> {
    // Seldom enough that a version with such an order is as quick as one without.
    if LOOKED.get().is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
        return Ok(());
    }
    LOOKED.set(Some(Instant::now()));
    let (name, order) = condition.split_once(' ').unwrap_or((condition, ""));
    if gate(name).exists() { obey(order) } else { Ok(()) }
}

fn gate(name: &str) -> PathBuf {
    Path::new("/gates").join(name)
}
