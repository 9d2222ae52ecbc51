//! What a name resolves to is what is connected to, or nothing is.

use std::future::{Ready, ready};

use super::*;

/// Answers the same for every name, but other addresses each time it is asked: as a name does whose owner rebinds it.
#[derive(Clone)]
struct Rebinding(Arc<Mutex<Vec<Vec<&'static str>>>>);

impl Service<Name> for Rebinding {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let addresses: Vec<_> = answer.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
        ready(Ok(addresses.into_iter()))
    }
}

fn policy(networks: &[&str]) -> Arc<Policy> {
    let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    Arc::new(Policy { networks, reported: Mutex::default() })
}

async fn resolve(networks: &[&str], answer: &[&'static str]) -> Result<Vec<String>, String> {
    let inner = Rebinding(Arc::new(Mutex::new(vec![answer.to_vec()])));
    let mut resolver = Resolver { inner, policy: policy(networks) };
    let resolved = resolver.call("api.example.com".parse().unwrap()).await;
    resolved.map(|all| all.map(|at| at.ip().to_string()).collect()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn forbidden_addresses_are_removed_from_a_resolved_name() {
    assert_eq!(resolve(&[], &["8.8.8.8", "127.0.0.1", "::1", "2600::1"]).await.unwrap(), ["8.8.8.8", "2600::1"]);
    let refused = resolve(&[], &["10.0.0.1", "169.254.169.254"]).await.unwrap_err();
    assert_eq!(refused, "api.example.com is at 10.0.0.1 (private use, RFC 1918)");
    assert_eq!(resolve(&["10.0.0.0/8"], &["10.0.0.1", "169.254.169.254"]).await.unwrap(), ["10.0.0.1"]);
    assert!(resolve(&["0.0.0.0/0"], &["169.254.169.254"]).await.unwrap_err().contains("metadata"));
    assert_eq!(resolve(&[], &[]).await.unwrap(), Vec::<String>::new(), "an empty answer is the connector's to report");
}

/// A server that says so when somebody connects.
async fn listening() -> (tokio::net::TcpListener, u16) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn the_address_that_was_checked_is_connected_to_and_the_name_is_resolved_once() {
    let (listener, port) = listening().await;
    // Asked a second time, it would be at an address that nobody answers at.
    let answers = Arc::new(Mutex::new(vec![vec!["192.0.2.1"], vec!["127.0.0.1"]]));
    let policy = policy(&["127.0.0.0/8"]);
    let resolver = Resolver { inner: Rebinding(Arc::clone(&answers)), policy };
    let mut connector = HttpConnector::new_with_resolver(resolver);
    let connected = connector.call(format!("http://api.example.com:{port}/").parse().unwrap()).await.unwrap();
    assert_eq!(connected.inner().peer_addr().unwrap().to_string(), format!("127.0.0.1:{port}"));
    assert_eq!(answers.lock().unwrap().len(), 1);
    drop(listener);
}

#[tokio::test]
async fn a_literal_address_is_connected_to_unless_a_cloud_gives_credentials_there() {
    let (_listener, port) = listening().await;
    let to = |authority: &str| Guarded::new(&[]).call(format!("http://{authority}/").parse().unwrap());
    to(&format!("127.0.0.1:{port}")).await.unwrap();
    for metadata in ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "100.100.100.200:80"] {
        let refused = to(metadata).await.unwrap_err();
        assert!(refused.is::<Prohibited>(), "{metadata}: {refused}");
    }
}

#[tokio::test]
async fn a_name_of_this_machine_takes_a_network() {
    let (_listener, port) = listening().await;
    let to = |networks: &[&str]| {
        let networks: Vec<Network> = networks.iter().map(|network| network.parse().unwrap()).collect();
        Guarded::new(&networks).call(format!("http://localhost:{port}/").parse().unwrap())
    };
    to(&["127.0.0.0/8", "::1/128"]).await.unwrap();
    assert!(to(&[]).await.is_err());
}
