//! `airssys:core/replies`: the right to answer, kept beyond the handler's return.

use wasmtime::component::Resource;

use super::HostLinker;
use super::wire::{Payload, SendError};
use crate::envelope::Answer;

/// The right to answer one request. Dropping it says "died" to the requester.
pub(crate) struct ReplyToken {
    reply: airssys_rt::ReplyTo<Answer>,
}

pub(super) fn link(host: &mut HostLinker) -> wasmtime::Result<()> {
    let mut replies = host.interface("replies")?;
    replies.resource::<ReplyToken>("reply-token")?;
    replies.function("defer", |mut store, (correlation,): (u64,)| {
        let state = store.data_mut();
        let handling = &mut state.handling;
        let reply = match handling.correlation == Some(correlation) {
            true => handling.reply.take(),
            false => None,
        };
        let token = reply.map(|reply| state.handles.push(ReplyToken { reply })).transpose()?;
        Ok((token,))
    })?;
    replies.function(
        "[static]reply-token.reply",
        |mut store, (token, outcome): (Resource<ReplyToken>, Result<Payload, String>)| {
            let state = store.data_mut();
            let token = state.handles.delete(token)?;
            let answer = state.answer(outcome.map(Into::into));
            let identity = &state.identity;
            Ok((token.reply.send(answer).map_err(|_| {
                identity.router.count_late();
                SendError::Gone
            }),))
        },
    )
}
