//! Additional headers of requests: the user agent's prefix and suffix, and configured headers. Knows no service.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use shardmill_core::config::Headers;

const USER_AGENT: &str = "user-agent";

/// Adds the configured headers to every request.
#[derive(Clone, Debug)]
pub(crate) struct WithHeaders(pub(super) Headers);

#[dyn_dispatch_hint]
impl Intercept for WithHeaders {
    fn name(&self) -> &'static str {
        "WithHeaders"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        for (name, value) in &self.0.more {
            headers.try_insert(name.clone(), value.expose().to_owned())?;
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
        let Headers { user_agent_prefix, user_agent_suffix, more: _ } = &self.0;
        let parts = [user_agent_prefix.as_deref(), own.as_deref(), user_agent_suffix.as_deref()];
        let whole: Vec<&str> = parts.into_iter().flatten().collect();
        headers.try_insert(USER_AGENT, whole.join(" "))?;
        Ok(())
    }
}
