//! Where AWS is reached for a stream: region, addresses, and the stream's ARN.

use super::identity::Identity;
use super::{Place, Settings};
use crate::config::client::Access;
use crate::config::keys::{self, Key};
use crate::config::problem::{Code, Origin, Problem};
use crate::config::value::Kind;

/// How Kinesis and DynamoDB are reached, in this order.
pub(super) fn read(
    settings: &mut Settings<'_>,
    at: Place<'_>,
    arn: Option<&str>,
    identities: [Identity; 2],
) -> [Access; 2] {
    let (kinesis_endpoint, dynamodb_endpoint) = endpoints(settings, at);
    let region = region(settings, at, kinesis_endpoint.is_some());
    let region = check_region_of_arn(settings, at, arn, region);
    let dynamodb_region = settings.text_in(&keys::access::DYNAMODB_REGION, at);
    if let Some(own) = &dynamodb_region {
        doubt(settings, at, &keys::access::DYNAMODB_REGION, own, dynamodb_endpoint.is_some());
    }
    let places = [(region.clone(), kinesis_endpoint), (dynamodb_region.or(region), dynamodb_endpoint)];
    let mut identities = identities.into_iter();
    places.map(|(region, endpoint)| {
        let Identity { credentials, role } = identities.next().unwrap_or_default();
        Access { region, endpoint, credentials, role }
    })
}

/// The stream's ARN, if calls have to name it by that.
pub(super) fn stream_arn(settings: &mut Settings<'_>, at: Place<'_>) -> Option<String> {
    let arn = settings.text_in(&keys::kcl::STREAM_ARN, at)?;
    let stream = &at.streams[0];
    if arn.rsplit('/').next() == Some(stream) {
        return Some(arn);
    }
    let problem = Problem::new(Code::BadValue, format!("`{arn}` is not the ARN of the stream `{stream}`"));
    let problem = problem.expected(format!("arn:aws:kinesis:REGION:ACCOUNT:stream/{stream}"));
    let hint = "the stream is named in `task.inputs`; its ARN says in which account it is";
    let key = settings.find(&keys::kcl::STREAM_ARN, at).unwrap_or_default();
    settings.blame(problem.hint(hint), &key);
    None
}

/// The region that is set, or that of the ARN.
fn check_region_of_arn(
    settings: &mut Settings<'_>,
    at: Place<'_>,
    arn: Option<&str>,
    region: Option<String>,
) -> Option<String> {
    let Some(of_arn) = arn.and_then(|arn| arn.split(':').nth(3)) else { return region };
    if let Some(region) = &region
        && region != of_arn
        && let Some(key) = settings.find(&keys::kcl::STREAM_ARN, at)
    {
        let message =
            format!("the region of `{}.{}` is {region}, and its StreamArn is of {of_arn}", at.system, at.streams[0]);
        settings.conflict(message, &key, "set the region of the ARN");
    }
    Some(region.unwrap_or_else(|| of_arn.to_owned()))
}

/// The stream's region or its system's, else the KCL's setting; `None`: the AWS default chain decides.
fn region(settings: &mut Settings<'_>, at: Place<'_>, has_endpoint: bool) -> Option<String> {
    let own = settings.text_in(&keys::access::REGION, at);
    let kcl = settings.text_in(&keys::kcl::REGION_NAME, at);
    if let (Some(own), Some(kcl)) = (&own, &kcl)
        && own != kcl
        && let Some(key) = settings.find(&keys::access::REGION, at)
    {
        let message = format!("the region of `{}.{}` is {own}, and its RegionName {kcl}", at.system, at.streams[0]);
        settings.conflict(message, &key, "remove RegionName");
    }
    if let Some(own) = &own {
        doubt(settings, at, &keys::access::REGION, own, has_endpoint);
    }
    own.or(kcl)
}

/// Remarks on a region that looks like none. One with an endpoint is a label only.
fn doubt(settings: &mut Settings<'_>, at: Place<'_>, key: &'static Key, region: &str, has_endpoint: bool) {
    let is_good = has_endpoint || is_region(region) || region.starts_with("YOUR-");
    if let Some(key) = settings.find(key, at).filter(|_| !is_good) {
        let message = format!("`{region}` does not look like an AWS region such as eu-central-1");
        settings.remark(Code::Suspicious, message, &key);
    }
}

/// The shape of all regions' names; there is no list of them, new ones come every year.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    match parts.as_slice() {
        [words @ .., number] => words.len() >= 2 && words.iter().all(word) && number.parse::<u8>().is_ok(),
        [] => false,
    }
}

/// The addresses of Kinesis and DynamoDB, where they are not the region's own.
fn endpoints(settings: &mut Settings<'_>, at: Place<'_>) -> (Option<String>, Option<String>) {
    let kinesis = endpoint(settings, at, &keys::kcl::KINESIS_ENDPOINT, "AWS_ENDPOINT_URL_KINESIS");
    let dynamodb = endpoint(settings, at, &keys::kcl::DYNAMODB_ENDPOINT, "AWS_ENDPOINT_URL_DYNAMODB");
    if kinesis.as_deref().is_some_and(is_local)
        && dynamodb.is_none()
        && let Some(key) = settings.find(&keys::kcl::KINESIS_ENDPOINT, at)
    {
        let message = format!("`{key}` is on this machine, and the lease table is at AWS: DynamoDBEndpoint is not set");
        settings.remark(Code::Suspicious, message, &key);
    }
    (kinesis, dynamodb)
}

/// Whether an address is on this machine.
pub(super) fn is_local(url: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|host| url.contains(host))
}

/// The key, else the service's own variable, else that of all services, as the AWS SDKs have it.
pub(super) fn endpoint(
    settings: &mut Settings<'_>,
    at: Place<'_>,
    key: &'static Key,
    variable: &str,
) -> Option<String> {
    if let Some(url) = settings.text_in(key, at) {
        return Some(url);
    }
    let set = |variable: &str| settings.env.get(variable).filter(|url| !url.trim().is_empty());
    let (variable, url) = [variable, "AWS_ENDPOINT_URL"].into_iter().find_map(|v| Some((v, set(v)?.trim())))?;
    let key = at.own_key(key);
    let origin = Origin::Environment(variable.to_owned());
    if let Err(mismatch) = Kind::Url.check(url) {
        let message = format!("the environment variable {variable} is no address");
        let problem = Problem::new(Code::BadValue, message).place(&origin).value(variable, url);
        settings.report.problem(problem.expected(mismatch.expected).hint("correct or unset it"));
        return None;
    }
    settings.record(&key, url, origin);
    Some(url.to_owned())
}
