//! Calls at the services: what becomes of each by its fate, and what the services answer.

use shardmill_core::kinesis::{fan_out, polling};
use shardmill_core::leases;
use shardmill_core::position::InitialPosition;
use shardmill_core::service::ErrorKind;

use crate::network::{Answer, Call, Fate, Network};
use crate::node::is_latest;
use crate::queue::{Caller, Item};
use crate::world::{Flaw, World};

impl World {
    /// A call reaches its service.
    pub(crate) fn arrive(&mut self, caller: Caller, call: Call, fate: Fate) {
        self.count_when_quiet(caller.node, &call);
        let back = |world: &mut Self, answer| {
            let when = world.out.now + world.out.network.delay(&mut world.out.dice);
            world.out.queue.push(when, Item::Answer(caller, answer));
        };
        let kind = ErrorKind::Unavailable;
        match fate {
            Fate::Refused(kind) => back(self, call.failed(kind)),
            Fate::Served => {
                let answer = self.serve(caller, call, false);
                back(self, answer);
            }
            Fate::Torn => {
                let answer = self.serve(caller, call, true);
                back(self, answer);
            }
            Fate::Lost => {
                self.serve(caller, call.clone(), false);
                back(self, call.failed(kind));
            }
            Fate::Unheard => drop(self.serve(caller, call, false)),
            Fate::Late => {
                let when = self.out.now + Network::late(&mut self.out.dice);
                self.out.queue.push(when, Item::Arrive(caller, call.clone(), Fate::Unheard));
                back(self, call.failed(kind));
            }
            Fate::Twice => {
                self.serve(caller, call.clone(), false);
                let when = self.out.now + self.out.dice.below(500);
                self.out.queue.push(when, Item::Arrive(caller, call, Fate::Served));
            }
        }
    }

    fn serve(&mut self, from: Caller, call: Call, is_torn: bool) -> Answer {
        let Self { out, nodes, initial, flaw, .. } = self;
        let now = out.now;
        if let Some(shard) = is_latest(&call) {
            out.audit.truth.begins_here(shard);
        }
        match call {
            Call::Scan { is_consistent } => {
                let scan = out.table.scan(now, is_consistent, &mut out.dice);
                Answer::Leases(Box::new(leases::Event::Scanned(Ok(scan))))
            }
            Call::List(filter) => {
                if *initial == InitialPosition::Latest {
                    out.audit.forget_the_unread(&out.table);
                }
                let torn = if is_torn { out.dice.index(out.audit.truth.shards.len()) } else { 0 };
                Answer::Leases(Box::new(leases::Event::Listed(out.kinesis.list_torn(now, filter, torn))))
            }
            Call::Write(write) => {
                let over = |life: usize| nodes[life].is_over();
                let mut carried_out = (*write).clone();
                if *flaw == Some(Flaw::WritesUnconditionally) {
                    out.table.forge(&mut carried_out);
                }
                let name = &nodes[from.node].name;
                let result = Ok(out.audit.write(now, &mut out.table, from.node, name, over, &carried_out));
                Answer::Leases(Box::new(leases::Event::Written { write: *write, result }))
            }
            Call::Iterator(shard, position) => {
                Answer::Poll(polling::Event::Iterator(out.kinesis.iterator(now, &shard, &position)))
            }
            Call::Records { iterator, limit } => {
                Answer::Poll(polling::Event::Fetched(out.kinesis.records(now, &iterator, limit)))
            }
            Call::Subscribe(shard, position) => match out.kinesis.subscribe(now, &shard, &position) {
                Ok(subscription) => Answer::Subscribed(Box::new(subscription)),
                Err(error) => Answer::FanOut(fan_out::Event::Subscribed(Err(error))),
            },
            Call::FindConsumer => Answer::FanOut(fan_out::Event::Consumer(out.kinesis.consumer_exists(now))),
        }
    }
}
