//! The body of a response: available pieces, or future events.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::subscription::Events;
use crate::faults::Cut;

/// See the module.
#[derive(Debug)]
pub(super) enum ReplyBody {
    Pieces(VecDeque<Bytes>),
    Events(Box<Events>),
}

impl ReplyBody {
    pub(super) fn empty() -> Self {
        Self::Pieces(VecDeque::new())
    }

    pub(super) fn whole(body: Vec<u8>) -> Self {
        Self::pieces(vec![Bytes::from(body)])
    }

    pub(super) fn pieces(pieces: Vec<Bytes>) -> Self {
        Self::Pieces(pieces.into())
    }

    pub(super) fn events(events: Events) -> Self {
        Self::Events(Box::new(events))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Pieces(pieces) => Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
            Self::Events(events) => events.poll_next(cx).map(|next| next.map(|frame| frame.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Pieces(pieces) => pieces.is_empty(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Pieces(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Self::Events(_) => SizeHint::new(),
        }
    }
}
