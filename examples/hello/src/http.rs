//! As much of HTTP/1.1 (RFC 9112) as a status page needs: bytes in, bytes out, no I/O.
//!
//! Each connection carries one request; `Connection: close` says so.

use std::time::SystemTime;

/// The longest request line and headers together, in bytes.
pub const HEAD_LIMIT: usize = 8 << 10;
const HEADERS: usize = 64;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `HEAD`: the answer without its body.
    pub head_only: bool,
    /// The target's path, without the query.
    pub path: String,
}

/// A status code and its name (RFC 9110, section 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(u16, &'static str);

impl Code {
    const OK: Self = Self(200, "OK");
    const BAD_REQUEST: Self = Self(400, "Bad Request");
    pub const NOT_FOUND: Self = Self(404, "Not Found");
    const METHOD_NOT_ALLOWED: Self = Self(405, "Method Not Allowed");
    pub const REQUEST_TIMEOUT: Self = Self(408, "Request Timeout");
    const HEAD_TOO_LARGE: Self = Self(431, "Request Header Fields Too Large");
    pub const INTERNAL_ERROR: Self = Self(500, "Internal Server Error");
    const VERSION: Self = Self(505, "HTTP Version Not Supported");
}

/// Reads a request's head from the bytes that have come so far; `None` when more are needed.
///
/// # Errors
///
/// The code to answer with when it is no request that is served here.
pub fn parse(bytes: &[u8]) -> Result<Option<Request>, Code> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_LIMIT => {
            return Err(Code::HEAD_TOO_LARGE);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Code::HEAD_TOO_LARGE),
        Err(httparse::Error::Version) => return Err(Code::VERSION),
        Err(_) => return Err(Code::BAD_REQUEST),
    }
    let hosts = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("host"))
        .count();
    if hosts > 1 || (hosts == 0 && request.version == Some(1)) {
        return Err(Code::BAD_REQUEST);
    }
    let head_only = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Code::METHOD_NOT_ALLOWED),
    };
    let path = request.path.and_then(path).ok_or(Code::BAD_REQUEST)?;
    Ok(Some(Request {
        head_only,
        path: path.to_owned(),
    }))
}

/// The path of a target in origin form (`/a?b`) or absolute form (`http://host/a?b`), which proxies use.
fn path(target: &str) -> Option<&str> {
    let origin = match target.strip_prefix("http://") {
        Some(rest) => rest
            .find('/')
            .and_then(|begin| rest.get(begin..))
            .unwrap_or("/"),
        None => target,
    };
    origin
        .split(['?', '#'])
        .next()
        .filter(|path| path.starts_with('/'))
}

/// What is answered.
#[derive(Debug)]
pub struct Response {
    code: Code,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Response {
    /// A page.
    pub fn html(body: String) -> Self {
        Self {
            code: Code::OK,
            content_type: "text/html; charset=utf-8",
            body: body.into_bytes(),
        }
    }

    /// A JSON document.
    pub fn json(body: Vec<u8>) -> Self {
        Self {
            code: Code::OK,
            content_type: "application/json",
            body,
        }
    }

    /// A failure, with its name as the text.
    pub fn error(code: Code) -> Self {
        Self {
            code,
            content_type: "text/plain; charset=utf-8",
            body: format!("{}\n", code.1).into_bytes(),
        }
    }

    /// The bytes on the wire.
    pub fn to_bytes(&self, head_only: bool, now: SystemTime) -> Vec<u8> {
        let Self {
            code: Code(number, name),
            content_type,
            body,
        } = self;
        let allow = if self.code == Code::METHOD_NOT_ALLOWED {
            "Allow: GET, HEAD\r\n"
        } else {
            ""
        };
        let mut bytes = format!(
            "HTTP/1.1 {number} {name}\r\nDate: {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            httpdate::fmt_http_date(now),
            body.len(),
        )
        .into_bytes();
        if !head_only {
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(path: &str) -> Result<Option<Request>, Code> {
        Ok(Some(Request {
            head_only: false,
            path: path.to_owned(),
        }))
    }

    #[test]
    fn requests_are_understood() {
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), get("/"));
        assert_eq!(
            parse(b"GET /status.json?pretty HTTP/1.1\r\nhost: x\r\n\r\nrest"),
            get("/status.json")
        );
        assert_eq!(
            parse(b"GET http://x/a?b HTTP/1.1\r\nHost: x\r\n\r\n"),
            get("/a")
        );
        assert_eq!(parse(b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n"), get("/"));
        assert_eq!(parse(b"GET / HTTP/1.0\r\n\r\n"), get("/"));
        let head = Request {
            head_only: true,
            path: "/".to_owned(),
        };
        assert_eq!(parse(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"), Ok(Some(head)));
    }

    #[test]
    fn what_is_not_served_gets_its_code() {
        assert_eq!(
            parse(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"),
            Err(Code::METHOD_NOT_ALLOWED)
        );
        assert_eq!(
            parse(b"GET / HTTP/1.1\r\n\r\n"),
            Err(Code::BAD_REQUEST),
            "without a host"
        );
        assert_eq!(
            parse(b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
            Err(Code::BAD_REQUEST),
            "with two hosts"
        );
        assert_eq!(
            parse(b"GET example.com:80 HTTP/1.1\r\nHost: x\r\n\r\n"),
            Err(Code::BAD_REQUEST)
        );
        assert_eq!(
            parse(b"\x16\x03\x01\x02\x00\x01\x00"),
            Err(Code::BAD_REQUEST),
            "TLS on a plain port"
        );
        assert_eq!(parse(b"GET / HTTP/7.0\r\n\r\n"), Err(Code::VERSION));
        let many = format!(
            "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
            "A: b\r\n".repeat(HEADERS)
        );
        assert_eq!(parse(many.as_bytes()), Err(Code::HEAD_TOO_LARGE));
        let long = format!("GET /{}", "a".repeat(HEAD_LIMIT));
        assert_eq!(parse(long.as_bytes()), Err(Code::HEAD_TOO_LARGE));
    }

    #[test]
    fn an_answer_has_a_head_and_a_body() {
        let answer = Response::html("<p>hello".to_owned()).to_bytes(false, SystemTime::UNIX_EPOCH);
        let expected = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
            Content-Type: text/html; charset=utf-8\r\nContent-Length: 8\r\nCache-Control: no-store\r\n\
            X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n<p>hello";
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
    }

    #[test]
    fn an_answer_to_head_has_the_length_and_no_body() {
        let answer = Response::json(b"{}".to_vec()).to_bytes(true, SystemTime::UNIX_EPOCH);
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("Content-Length: 2\r\n"));
        assert!(answer.ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let answer =
            Response::error(Code::METHOD_NOT_ALLOWED).to_bytes(false, SystemTime::UNIX_EPOCH);
        assert!(
            String::from_utf8(answer)
                .unwrap()
                .contains("Allow: GET, HEAD\r\n")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..HEAD_LIMIT + 100)) {
            if bytes.len() >= HEAD_LIMIT {
                prop_assert_ne!(parse(&bytes), Ok(None));
            } else {
                let _ = parse(&bytes);
            }
        }

        #[test]
        fn a_request_in_pieces_is_the_same_request(path in "/[a-z0-9./]{0,40}", cut in 0_usize..100) {
            let request = format!("GET {path} HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\n\r\n");
            let cut = cut.min(request.len() - 1);
            prop_assert_eq!(parse(&request.as_bytes()[..cut]), Ok(None));
            prop_assert_eq!(parse(request.as_bytes()), Ok(Some(Request { head_only: false, path })));
        }
    }
}
