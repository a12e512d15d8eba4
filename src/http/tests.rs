use super::*;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers one connection with these octets; gives what it was sent.
async fn server(answer: Vec<u8>) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 100_000];
        let mut length = stream.read(&mut heard).await.unwrap();
        while !heard[..length].windows(4).any(|end| end == b"\r\n\r\n") {
            length += stream.read(&mut heard[length..]).await.unwrap();
        }
        let _ = stream.write_all(&answer).await;
        heard.truncate(length);
        String::from_utf8(heard).unwrap()
    });
    (addr, heard)
}

fn request(method: &str, url: &str) -> Request {
    Request::new(method, Url::parse(url).unwrap(), Duration::from_secs(5)).unwrap()
}

#[tokio::test]
async fn a_request_and_its_answer() {
    let (addr, heard) = server(b"HTTP/1.1 201 Created\r\nX-A: b\r\nContent-Length: 4\r\n\r\nyes!".to_vec()).await;
    let mut request = request("POST", &format!("http://{addr}/hook?a=b"));
    request.header("Authorization", b"Bearer 1").unwrap();
    request.body(b"{}").unwrap();
    let answer = Client::default().fetch(request).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (201, b"yes!".as_slice()));
    assert!(answer.headers.contains(&("x-a".to_owned(), b"b".to_vec())));
    let heard = heard.await.unwrap();
    assert!(heard.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{heard}");
    assert!(heard.contains(&format!("host: {addr}\r\n")) && heard.contains("authorization: Bearer 1"), "{heard}");
}

#[tokio::test]
async fn what_goes_wrong_names_the_origin_and_no_more() {
    let (addr, _) = server(b"HTTP/1.1 200 OK\r\n\r\n".iter().copied().chain(vec![b'x'; 300_000]).collect()).await;
    let error = Client::default().fetch(request("GET", &format!("http://{addr}/?token=secret"))).await.unwrap_err();
    assert_eq!(error, HttpError::AnswerTooLarge { origin: format!("http://{addr}") });

    let (addr, _) = server(b"no HTTP at all\r\n\r\n".to_vec()).await;
    let error = Client::default().fetch(request("GET", &format!("http://{addr}/?token=secret"))).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("http://{addr}: ")) && !error.to_string().contains("secret"));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let slow = Request::new("GET", url, Duration::from_millis(30)).unwrap();
    assert!(matches!(Client::default().fetch(slow).await, Err(HttpError::Timeout { .. })));
    assert_eq!(format!("{:?}", request("GET", "https://a.example/p?secret")), "GET https://a.example:443");
}

#[test]
fn urls_are_read_strictly() {
    let origin = |text: &str| Url::parse(text).map(|url| url.origin().to_string());
    assert_eq!(origin("HTTPS://Example.NET:443/p").unwrap(), "https://example.net:443");
    assert_eq!(origin("http://[::1]:8080/p").unwrap(), "http://[::1]:8080");
    assert_eq!(origin("https://user:pw@example.net/"), Err(HttpError::Credentials));
    for bad in
        ["example.net", "/path", "ftp://a/", "http://", "http://a:99999/", "http://a:0/", "http://a:/", "http://a b/"]
    {
        assert_eq!(origin(bad), Err(HttpError::Url), "{bad}");
    }
}

#[test]
fn header_fields_that_frame_the_message_are_the_clients() {
    let mut request = request("GET", "http://a/");
    for name in ["Host", "content-length", "Transfer-Encoding", "a b", ""] {
        assert!(matches!(request.header(name, b"x"), Err(HttpError::HeaderName(_))), "{name}");
    }
    assert!(matches!(request.header("X-A", b"a\r\nX-B: c"), Err(HttpError::HeaderValue(_))));
    assert!(matches!(request.header("X-A", &[b'a'; MAX_HEADER]), Err(HttpError::TooLarge(_))));
    assert!(matches!(request.body(&vec![0; MAX_REQUEST + 1]), Err(HttpError::TooLarge(_))));
    assert!(Request::new("TRACE", Url::parse("http://a/").unwrap(), Duration::ZERO).is_err());
}
