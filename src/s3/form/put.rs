//! The `PutObject` that a form stands for, and how its success is told.

use std::borrow::Cow;

use http::{Method, StatusCode, Uri};

use super::fields::{Form, authenticates};
use crate::head::Head;
use crate::s3::query::{encode, encode_into};
use crate::s3::xml::{DECLARATION, element, malformed, walk};
use crate::s3::{Code, Malformed};

/// Headers of the form's own request that are the object's request's as well. Not `Origin`: a store's rules
/// for pages that put are others than for pages that post.
const CARRIED: [&str; 6] = ["host", "referer", "traceparent", "tracestate", "user-agent", "via"];

/// Fields that become the headers of the same names, beside `x-amz-*`.
const HEADERS: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
];

/// `x-amz-*` fields that say how a request is sent, which is not the form's to say.
const FRAMING: [&str; 3] = ["x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer"];

/// Most tags of an object, and longest key and value: S3's own limits.
const TAGS_MAX: usize = 10;
const TAG_KEY_MAX: usize = 128;
const TAG_VALUE_MAX: usize = 256;

/// How the client wants to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Success {
    /// By this status alone.
    Status(StatusCode),
    /// By 201 and a document.
    Document,
    /// By 303: the browser goes on to this URL, the object named in its query.
    Redirect(String),
}

impl Success {
    /// What the form asks for: 204 where it asks for nothing that S3 has.
    #[must_use]
    pub fn of(form: &Form) -> Self {
        let redirect = form.value("success_action_redirect").or_else(|| form.value("redirect"));
        if let Some(url) = redirect.filter(|url| is_url(url)) {
            return Self::Redirect(url.to_owned());
        }
        match form.value("success_action_status") {
            Some("200") => Self::Status(StatusCode::OK),
            Some("201") => Self::Document,
            _ => Self::Status(StatusCode::NO_CONTENT),
        }
    }

    /// The URL to go on to, for [`Self::Redirect`].
    #[must_use]
    pub fn url(&self, bucket: &str, key: &str, etag: &str) -> Option<String> {
        let Self::Redirect(url) = self else { return None };
        let (url, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
        let joint = if url.contains('?') { '&' } else { '?' };
        let (bucket, key, etag) = (encode(bucket), encode(key), encode(etag));
        Some(format!("{url}{joint}bucket={bucket}&key={key}&etag={etag}{fragment}"))
    }
}

/// Of a page that a browser can be sent to.
fn is_url(url: &str) -> bool {
    let parsed = url.parse::<Uri>().ok();
    let web = parsed
        .is_some_and(|uri| uri.authority().is_some() && matches!(uri.scheme_str(), Some("http" | "https")));
    web && url.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The document of a 201.
#[must_use]
pub fn post_response(location: &str, bucket: &str, key: &str, etag: &str) -> String {
    let mut out = format!("{DECLARATION}<PostResponse>");
    for (name, value) in [("Location", location), ("Bucket", bucket), ("Key", key), ("ETag", etag)] {
        element(&mut out, name, value);
    }
    out.push_str("</PostResponse>");
    out
}

/// The head of the `PutObject` that a form, sent with this head, stands for. It still has to pass
/// every judgement that such a head passes.
///
/// # Errors
/// `InvalidArgument` for a form without a key, or with a field that no header can be; `MalformedXML`
/// and `InvalidTag` for tags.
pub fn put(form: &Form, sent: &Head) -> Result<Head, Malformed> {
    const NO_KEY: &str = "Bucket POST must contain a field named 'key'.  If it is specified, please check \
                          the order of the fields.";
    let key = form.value("key").ok_or_else(|| Malformed::argument("key", "", NO_KEY))?;
    if key.is_empty() {
        return Err(Malformed::argument("key", "", "User key must have a length greater than 0."));
    }
    let mut path = sent.path().trim_end_matches('/').to_owned();
    path.push('/');
    encode_into(key.as_bytes(), b"/", &mut path);
    let mut head = Head::new(Method::PUT, "/");
    head.set_target(&path, None);
    for field in sent.fields().filter(|field| CARRIED.contains(&field.name)) {
        head.push(field.name, field.value);
    }
    for (name, value) in form.fields() {
        if let Some((name, value)) = header(name, value)? {
            if head.count(name) > 0 {
                return Err(Malformed::argument(
                    "field",
                    name,
                    "Two fields of the form are the same header.",
                ));
            }
            head.push(name, value.as_bytes());
        }
    }
    Ok(head)
}

/// The question by which a browser would ask the store whether the page that sends a form may, and read
/// the answer. `None` where no page of another site sends it.
#[must_use]
pub fn preflight(sent: &Head, put: &Head) -> Option<Head> {
    let origin = sent.first("origin")?;
    let mut head = Head::new(Method::OPTIONS, "/");
    head.set_target(put.path(), None);
    for name in ["host", "user-agent", "via"] {
        for value in sent.all(name) {
            head.push(name, value);
        }
    }
    head.push("origin", origin);
    head.push("access-control-request-method", b"POST");
    Some(head)
}

/// The header that a field stands for.
fn header<'f>(name: &'f str, value: &'f str) -> Result<Option<(&'f str, Cow<'f, str>)>, Malformed> {
    let (name, value): (&str, Cow<'_, str>) = match name {
        "acl" => ("x-amz-acl", value.into()),
        "tagging" => ("x-amz-tagging", tags(value)?.into()),
        _ if HEADERS.contains(&name) => (name, value.into()),
        _ if name.starts_with("x-amz-copy-source") => {
            return Err(Malformed::argument("field", name, "A form uploads a file and copies nothing."));
        }
        _ if name.starts_with("x-amz-") && !authenticates(name) && !FRAMING.contains(&name) => {
            (name, value.into())
        }
        // S3 passes over fields that it does not know
        _ => return Ok(None),
    };
    let named = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!#$&'*^`|~+".contains(&byte));
    let valued = value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    if named && valued {
        return Ok(Some((name, value)));
    }
    Err(Malformed::argument("field", name, "A field of the form is no header."))
}

/// The tags of the field `tagging`, an XML document, as the header carries them.
fn tags(document: &str) -> Result<String, Malformed> {
    let (mut out, mut key, mut value) = (String::new(), None, None);
    let mut count = 0;
    walk(document.as_bytes(), &mut |path, text| {
        match path {
            "Tagging" | "Tagging/TagSet" => {}
            "Tagging/TagSet/Tag/Key" => key = Some(text.to_owned()),
            "Tagging/TagSet/Tag/Value" => value = Some(text.to_owned()),
            "Tagging/TagSet/Tag" => {
                let (Some(key), Some(value)) = (key.take(), value.take()) else { return Err(malformed()) };
                let fits = (1..=TAG_KEY_MAX).contains(&key.chars().count())
                    && value.chars().count() <= TAG_VALUE_MAX;
                count += 1;
                if !fits || count > TAGS_MAX {
                    return Err(Malformed::new(Code::InvalidTag));
                }
                if !out.is_empty() {
                    out.push('&');
                }
                encode_into(key.as_bytes(), b"", &mut out);
                out.push('=');
                encode_into(value.as_bytes(), b"", &mut out);
            }
            _ => return Err(malformed()),
        }
        Ok(())
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Form {
        let mut form = Form::default();
        for (name, value) in fields {
            form.add(name, (*value).to_owned()).unwrap();
        }
        form
    }

    fn sent(path: &str) -> Head {
        let mut head = Head::new(Method::POST, path);
        for (name, value) in [
            ("host", "h"),
            ("content-type", "multipart/form-data; boundary=x"),
            ("content-length", "1000"),
            ("cookie", "c"),
            ("origin", "https://app"),
            ("x-amz-acl", "public-read"),
        ] {
            head.push(name, value.as_bytes());
        }
        head
    }

    fn fields(head: &Head) -> Vec<String> {
        let line = |field: crate::head::Field<'_>| format!("{}: {}", field.name, field.text().unwrap());
        head.fields().map(line).collect()
    }

    #[test]
    fn a_form_becomes_the_head_of_a_put() {
        let tagging = "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&amp;2</Value></Tag>\
                       <Tag><Key>c</Key><Value></Value></Tag></TagSet></Tagging>";
        let form = form(&[
            ("key", "user/\u{e9} 1%.jpg"),
            ("Content-Type", "image/jpeg"),
            ("ACL", "private"),
            ("tagging", tagging),
            ("x-amz-meta-a_b", "v"),
            ("x-amz-storage-class", "GLACIER"),
            ("x-amz-checksum-sha256", "c"),
            ("success_action_status", "201"),
            ("policy", "p"),
            ("x-amz-credential", "c"),
            ("x-amz-security-token", "t"),
            ("x-amz-decoded-content-length", "7"),
            ("x-ignore-me", "1"),
            ("submit", "Upload"),
            ("if-none-match", "*"),
        ]);
        for path in ["/photos", "/photos/"] {
            let head = put(&form, &sent(path)).unwrap();
            assert_eq!((head.method(), head.target()), (&Method::PUT, "/photos/user/%C3%A9%201%25.jpg"));
            assert_eq!(
                fields(&head),
                [
                    "host: h",
                    "content-type: image/jpeg",
                    "x-amz-acl: private",
                    "x-amz-tagging: a%20b=1%262&c=",
                    "x-amz-meta-a_b: v",
                    "x-amz-storage-class: GLACIER",
                    "x-amz-checksum-sha256: c",
                ]
            );
        }
        assert_eq!(put(&form, &sent("/")).unwrap().path(), "/user/%C3%A9%201%25.jpg");
    }

    #[test]
    fn what_is_no_put_is_refused() {
        let code =
            |fields: &[(&str, &str)]| put(&form(fields), &sent("/b")).map_err(|fault| fault.code).err();
        assert_eq!(code(&[("acl", "private")]), Some(Code::InvalidArgument));
        assert_eq!(code(&[("key", "")]), Some(Code::InvalidArgument));
        let key = ("key", "k");
        assert_eq!(
            code(&[key, ("x-amz-meta-a", "a\r\nx-amz-acl: public-read")]),
            Some(Code::InvalidArgument)
        );
        assert_eq!(code(&[key, ("x-amz-meta-\u{e9}", "a")]), Some(Code::InvalidArgument));
        assert_eq!(code(&[key, ("x-amz-copy-source", "/vault/k")]), Some(Code::InvalidArgument));
        assert_eq!(
            code(&[key, ("acl", "private"), ("x-amz-acl", "public-read")]),
            Some(Code::InvalidArgument)
        );
        assert_eq!(code(&[key, ("tagging", "a=1")]), Some(Code::MalformedXML));
        let tags = |count: usize| {
            format!(
                "<Tagging><TagSet>{}</TagSet></Tagging>",
                "<Tag><Key>k</Key><Value>v</Value></Tag>".repeat(count),
            )
        };
        assert_eq!(code(&[key, ("tagging", &tags(TAGS_MAX))]), None);
        assert_eq!(code(&[key, ("tagging", &tags(TAGS_MAX + 1))]), Some(Code::InvalidTag));
    }

    #[test]
    fn success_is_told_as_the_form_asks() {
        let no_content = Success::Status(StatusCode::NO_CONTENT);
        let redirect = |url: &str| Success::Redirect(url.to_owned());
        let rows: &[(&[(&str, &str)], Success)] = &[
            (&[], no_content.clone()),
            (&[("success_action_status", "200")], Success::Status(StatusCode::OK)),
            (&[("success_action_status", "201")], Success::Document),
            (&[("success_action_status", "204")], no_content.clone()),
            (&[("success_action_status", "404")], no_content.clone()),
            (
                &[("success_action_redirect", "https://a.b/done"), ("success_action_status", "201")],
                redirect("https://a.b/done"),
            ),
            (&[("redirect", "http://a.b/?x=1")], redirect("http://a.b/?x=1")),
            (&[("redirect", "not a url"), ("success_action_status", "201")], Success::Document),
            (&[("success_action_redirect", "ftp://a.b/")], no_content.clone()),
            (&[("success_action_redirect", "https://a.b/\r\nx: y")], no_content.clone()),
            (&[("success_action_redirect", "/relative")], no_content),
        ];
        for (fields, expected) in rows {
            assert_eq!(Success::of(&form(fields)), *expected, "{fields:?}");
        }
        let url = |text: &str| redirect(text).url("photos", "a/b c", "\"e\"");
        let named = "bucket=photos&key=a%2Fb%20c&etag=%22e%22";
        assert_eq!(url("https://a.b/done"), Some(format!("https://a.b/done?{named}")));
        assert_eq!(url("https://a.b/?x=1#top"), Some(format!("https://a.b/?x=1&{named}#top")));
        let document = post_response("http://h/b/k", "b", "a&b", "\"e\"");
        assert!(document.contains("<Bucket>b</Bucket><Key>a&amp;b</Key>"), "{document}");
    }
}
