//! Operations on tags, by stream and by resource ARN. Consumers have no tags of their own here: a consumer's ARN
//! means its stream.

use std::collections::BTreeMap;

use super::{Reply, stream};
use crate::model::{Error, Millis, Model, StreamRef};
use crate::protocol::{Params, Value};

const LIST_DEFAULT: usize = 50;

pub(super) fn add_to_stream(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    model.add_tags(now, &stream(params)?, tags(params)?)?;
    Ok(Reply::Empty)
}

pub(super) fn remove_from_stream(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    model.remove_tags(now, &stream(params)?, &params.strings("TagKeys")?)?;
    Ok(Reply::Empty)
}

pub(super) fn list_for_stream(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let all = model.tags(now, &stream(params)?)?;
    let after = params.str("ExclusiveStartTagKey")?;
    let limit = params.number("Limit")?.map_or(LIST_DEFAULT, |n| n as usize);
    let rest = all.into_iter().filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
    let mut rest = rest.peekable();
    let page: Vec<_> = rest.by_ref().take(limit).map(tag).collect();
    Ok(Reply::Value(Value::map([("Tags", page.into()), ("HasMoreTags", rest.peek().is_some().into())])))
}

pub(super) fn tag_resource(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    model.add_tags(now, &resource(params)?, tags(params)?)?;
    Ok(Reply::Empty)
}

pub(super) fn untag_resource(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    model.remove_tags(now, &resource(params)?, &params.strings("TagKeys")?)?;
    Ok(Reply::Empty)
}

pub(super) fn list_for_resource(model: &Model, now: Millis, params: &Params<'_>) -> Result<Reply, Error> {
    let all = model.tags(now, &resource(params)?)?;
    Ok(Reply::Value(Value::map([("Tags", Value::list(all.into_iter().map(tag)))])))
}

fn resource<'p>(params: &'p Params<'_>) -> Result<StreamRef<'p>, Error> {
    params.required_str("ResourceARN").map(StreamRef::from)
}

fn tags(params: &Params<'_>) -> Result<BTreeMap<String, String>, Error> {
    let tags = params.string_map("Tags")?.ok_or_else(|| Error::missing("tags"))?;
    Ok(tags.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
}

fn tag((key, value): (String, String)) -> Value<'static> {
    Value::map([("Key", key.into()), ("Value", value.into())])
}
