//! What `bindgen!` makes of the WIT package. Nothing else in the crate is generated.
#![allow(unsafe_code, unreachable_pub, dead_code, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../../wit/shardmill-task-0.1.0",
    inline: "
        package shardmill:host;

        /// Every interface a component may have; which ones it has is probed.
        world any-task {
            include shardmill:task/imports@0.1.0;
            export shardmill:task/processor@0.1.0;
            export shardmill:task/batch-processor@0.1.0;
            export shardmill:task/lifecycle@0.1.0;
            export shardmill:task/windowing@0.1.0;
        }
    ",
    world: "shardmill:host/any-task",
    ownership: Borrowing { duplicate_if_necessary: true },
});
