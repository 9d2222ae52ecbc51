//! Additional headers of requests: the user agent's prefix and suffix, and configured headers. Knows no service.

use std::fmt;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

const USER_AGENT: &str = "user-agent";

/// Headers of every request.
#[derive(Clone, Default)]
pub struct Headers {
    /// Before the SDK's user agent.
    pub user_agent_prefix: Option<String>,
    /// After it.
    pub user_agent_suffix: Option<String>,
    /// Name and value; signed. A value may be a secret.
    pub more: Vec<(String, String)>,
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.more.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Headers")
            .field("user_agent_prefix", &self.user_agent_prefix)
            .field("user_agent_suffix", &self.user_agent_suffix)
            .field("more", &names)
            .finish()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Headers {
    fn name(&self) -> &'static str {
        "Headers"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        for (name, value) in &self.more {
            headers.try_insert(name.clone(), value.clone())?;
        }
        Ok(())
    }

    /// Runs after the SDK has set its own user agent, which is not signed.
    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        let own = headers.get(USER_AGENT).map(str::to_owned);
        let parts = [self.user_agent_prefix.as_deref(), own.as_deref(), self.user_agent_suffix.as_deref()];
        let whole: Vec<&str> = parts.into_iter().flatten().collect();
        headers.try_insert(USER_AGENT, whole.join(" "))?;
        Ok(())
    }
}
