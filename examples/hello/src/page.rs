//! What is served: the machine, for people and for programs.

use std::fmt::Write;
use std::sync::OnceLock;
use std::time::SystemTime;

use tinyboot::Machine;

use crate::http::{Code, Request, Response};
use crate::report;

const STYLE: &str = "body{font:1.1rem/1.5 sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}li{margin:.2rem}";

/// The page about this machine.
pub struct Page {
    machine: Machine,
    boot: OnceLock<u64>,
}

impl Page {
    /// A page about `machine`.
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            boot: OnceLock::new(),
        }
    }

    /// Sets the number of this boot; once.
    pub fn set_boot(&self, number: u64) {
        let _ = self.boot.set(number);
    }

    /// The answer to a request.
    pub fn answer(&self, request: &Request) -> Response {
        match request.path.as_str() {
            "/" => Response::html(self.html()),
            "/status.json" => match serde_json::to_vec_pretty(&self.machine.status()) {
                Ok(body) => Response::json(body),
                Err(_) => Response::error(Code::INTERNAL_ERROR),
            },
            _ => Response::error(Code::NOT_FOUND),
        }
    }

    fn html(&self) -> String {
        let status = self.machine.status();
        let mut lines = Vec::new();
        if self.machine.on_tinyboot() {
            lines = report::lines(&status);
        }
        lines.extend(
            self.boot
                .get()
                .map(|number| format!("boot number {number}")),
        );
        lines.push(format!(
            "time: {}",
            httpdate::fmt_http_date(SystemTime::now())
        ));
        let name = if status.name.is_empty() {
            "hello"
        } else {
            &status.name
        };
        html(name, &lines)
    }
}

/// A small page with a list. The values come from disks and networks and are escaped.
fn html(title: &str, lines: &[String]) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n<ul>\n"
    );
    for line in lines {
        let _ = writeln!(page, "<li>{}</li>", escape(line));
    }
    page.push_str("</ul>\n<p><a href=\"/status.json\">status.json</a></p>\n</html>\n");
    page
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_text() {
        let page = html("<b>", &["domain: <script>alert(\"1\") & more".to_owned()]);
        assert!(page.contains("<h1>&lt;b&gt;</h1>"));
        assert!(page.contains("<li>domain: &lt;script&gt;alert(&quot;1&quot;) &amp; more</li>"));
    }
}
