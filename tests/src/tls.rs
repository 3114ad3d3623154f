//! TLS in front of a server of the tests, with a certificate of its own making.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::CertifiedKey;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Accepts TLS connections and forwards their plain text; stops when dropped.
#[derive(Debug)]
pub struct TlsFront {
    addr: SocketAddr,
    certificate: String,
    acceptor: JoinHandle<()>,
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl TlsFront {
    /// Starts one on a free port of 127.0.0.1, in front of `server`; its certificate is for `name`,
    /// and signed by itself.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(name: &str, server: SocketAddr) -> Self {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key);
        let tls = TlsAcceptor::from(Arc::new(config.expect("a configuration")));
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("an address for TLS");
        let addr = listener.local_addr().expect("the address of TLS");
        let acceptor = tokio::spawn(accept_all(listener, tls, server));
        Self {
            addr,
            certificate: cert.pem(),
            acceptor,
        }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// The certificate, as PEM; clients with it among their roots trust this server.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }
}

async fn accept_all(listener: TcpListener, tls: TlsAcceptor, server: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let tls = tls.clone();
        connections.spawn(async move {
            // A client that does not trust the certificate ends the handshake.
            let Ok(mut client) = tls.accept(stream).await else {
                return;
            };
            let Ok(mut server) = TcpStream::connect(server).await else {
                return;
            };
            let _ = copy_bidirectional(&mut client, &mut server).await;
        });
    }
}
