//! Who calls AWS for a stream: credentials, and the role that is assumed with them. Each may stand at the stream or at its
//! system, and DynamoDB may have its own.

use super::{Level, Place, Settings, access, keys_at};
use crate::config::Secret;
use crate::config::client::{Credentials, Role, StaticCredentials};
use crate::config::keys::{self, Key};
use crate::config::problem::{Code, Problem};

/// The most characters of a session's name, by STS's rules.
const SESSION_NAME_MAX: usize = 64;

#[derive(Clone, Default)]
pub(super) struct Identity {
    pub(super) credentials: Credentials,
    pub(super) role: Option<Role>,
}

/// The names of one service's settings.
struct Names {
    access_key: &'static Key,
    secret_key: &'static Key,
    session_token: &'static Key,
    profile: &'static Key,
    role: &'static Key,
    external_id: &'static Key,
    session_name: &'static Key,
}

const OWN: Names = Names {
    access_key: &keys::access::ACCESS_KEY,
    secret_key: &keys::access::SECRET_KEY,
    session_token: &keys::access::SESSION_TOKEN,
    profile: &keys::access::PROFILE,
    role: &keys::access::ROLE_ARN,
    external_id: &keys::access::EXTERNAL_ID,
    session_name: &keys::access::ROLE_SESSION_NAME,
};

const OF_DYNAMODB: Names = Names {
    access_key: &keys::access::DYNAMODB_ACCESS_KEY,
    secret_key: &keys::access::DYNAMODB_SECRET_KEY,
    session_token: &keys::access::DYNAMODB_SESSION_TOKEN,
    profile: &keys::access::DYNAMODB_PROFILE,
    role: &keys::access::DYNAMODB_ROLE_ARN,
    external_id: &keys::access::DYNAMODB_EXTERNAL_ID,
    session_name: &keys::access::DYNAMODB_ROLE_SESSION_NAME,
};

/// Who calls Kinesis and who DynamoDB; `session` is how a role's session is named where nothing else is set.
pub(super) fn read(settings: &mut Settings<'_>, at: Place<'_>, session: &str) -> [Identity; 2] {
    let (base, level) = credentials(settings, at, &OWN).unzip();
    let role = role(settings, at, &OWN, level, session);
    let kinesis = Identity { credentials: base.unwrap_or_default(), role };
    let dynamodb = of_dynamodb(settings, at, session, &kinesis);
    [kinesis, dynamodb]
}

/// The stream's, unless there is a setting of DynamoDB's own: then its credentials are not used with the stream's role,
/// but its role is assumed with the stream's credentials.
fn of_dynamodb(settings: &mut Settings<'_>, at: Place<'_>, session: &str, kinesis: &Identity) -> Identity {
    let (base, level) = credentials(settings, at, &OF_DYNAMODB).unzip();
    let role = role(settings, at, &OF_DYNAMODB, level, session);
    match (base, role) {
        (None, None) => kinesis.clone(),
        (None, role) => Identity { credentials: kinesis.credentials.clone(), role },
        (Some(credentials), role) => Identity { credentials, role },
    }
}

/// The first level that says anything decides.
fn credentials(settings: &mut Settings<'_>, at: Place<'_>, names: &Names) -> Option<(Credentials, Level)> {
    let all = [names.access_key, names.secret_key, names.session_token, names.profile];
    let is_set = |level: &Level| all.iter().any(|name| settings.find_at(name, at, *level).is_some());
    let level = Level::ALL.into_iter().find(is_set)?;
    let [access_key, secret_key, session_token, profile] = all.map(|name| settings.text_at(name, at, level));
    let pair = access_key.zip(secret_key);
    let key_of = |settings: &Settings<'_>, name| settings.find_at(name, at, level);
    if let Some(of_profile) = key_of(settings, names.profile) {
        let others = [names.access_key, names.secret_key, names.session_token];
        if let Some(other) = others.into_iter().find_map(|name| key_of(settings, name)) {
            let message = format!("`{of_profile}` and `{other}` both say whose credentials are used");
            settings.conflict(message, &of_profile, "remove the one or the other");
        }
        return profile.map(|profile| (Credentials::Profile(profile), level));
    }
    let Some((access_key, secret_key)) = pair else {
        incomplete(settings, at, names, level);
        return None;
    };
    let session_token = session_token.map(Secret::new);
    let given = StaticCredentials { access_key, secret_key: Secret::new(secret_key), session_token };
    Some((Credentials::Static(given), level))
}

fn incomplete(settings: &mut Settings<'_>, at: Place<'_>, names: &Names, level: Level) {
    let set = |name| settings.find_at(name, at, level);
    let (there, missing) = match (set(names.access_key), set(names.secret_key), set(names.session_token)) {
        (Some(access), None, _) => (access, names.secret_key),
        (None, Some(secret), _) => (secret, names.access_key),
        (None, None, Some(token)) => (token, names.access_key),
        // A value that cannot be used has been reported.
        _ => return,
    };
    let Some(missing) = keys_at(missing, at, level).next() else { return };
    // A secret key without its prefix has been reported, with the key to write.
    if settings.entries.contains_key(missing.trim_start_matches("sensitive.")) {
        return;
    }
    let problem = Problem::new(Code::IncompleteCredentials, format!("`{there}` is set and `{missing}` is not"));
    let problem = problem.expected("access key and secret key, or neither: then the AWS default chain is asked");
    settings.blame(problem.hint(format!("add a line {missing}=..., or remove {there}")), &there);
}

/// A stream that has credentials of its own does not take its system's role.
fn role(
    settings: &mut Settings<'_>,
    at: Place<'_>,
    names: &Names,
    credentials: Option<Level>,
    session: &str,
) -> Option<Role> {
    let levels = Level::ALL.into_iter().filter(|level| credentials != Some(Level::Stream) || *level == Level::Stream);
    let mut found = None;
    for level in levels {
        found = found.or_else(|| settings.text_at(names.role, at, level));
    }
    let Some(arn) = found else {
        tell_without_role(settings, at, names);
        return None;
    };
    let session: String = session.chars().take(SESSION_NAME_MAX).collect();
    Some(Role {
        arn,
        external_id: settings.text_in(names.external_id, at),
        session_name: settings.text_in(names.session_name, at).unwrap_or(session),
        sts_endpoint: access::endpoint(settings, at, &keys::access::STS_ENDPOINT, "AWS_ENDPOINT_URL_STS"),
    })
}

/// A system's may be for its other streams.
fn tell_without_role(settings: &mut Settings<'_>, at: Place<'_>, names: &Names) {
    for name in [names.external_id, names.session_name] {
        let Some(key) = settings.find_at(name, at, Level::Stream) else { continue };
        settings.used.insert(key.clone());
        // A role that cannot be one has been reported.
        let (Some(role), None) = (keys_at(names.role, at, Level::Stream).next(), settings.find(names.role, at)) else {
            continue;
        };
        let problem = Problem::new(Code::MissingKey, format!("`{key}` is set and `{role}` is not"));
        let problem = problem.expected("a role that is assumed with it");
        settings.blame(problem.hint(format!("add a line {role}=..., or remove {key}")), &key);
    }
}
