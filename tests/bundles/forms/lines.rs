//! Events' lines, written oddly.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{EVENTS, Form};

/// Values by the grammar of RFC 8259, and what other parsers take for some.
#[rustfmt::skip] // tables
fn values() -> Vec<(bool, Vec<u8>)> {
    let mut values: Vec<(bool, Vec<u8>)> = Vec::new();
    let mut add = |holds: bool, some: &[&str]| {
        values.extend(some.iter().map(|value| (holds, value.as_bytes().to_vec())));
    };
    add(
        true,
        &[
            "0", "-0", "1", "1.0", "-1.5e-7", "1e5", "1E+5", "1e-400", "0e99999999999", "1e-99999999999", "5e-324",
            "123456789012345678901234567890", "1.7976931348623157e308", "-1.7976931348623157e308",
            "0.10000000000000000000001", "-0.0", "18446744073709551616", "-9223372036854775809", "-0e-0", "true",
            "false", "null", "[]", "{}", "[ ]", "{ }", "[1,2]", "[ 1 ,\t2 ]", r#"{"a":1}"#,
            r#"{"a":1,"b":{"a":1}}"#, r#"[{"a":1},{"a":1}]"#, r#"{"":1}"#, r#"{"seq":9}"#,
            r#"{"seq":true,"at":{"seq":[]}}"#, "[\r1]", r#""""#, r#""\u0041""#, r#""\ud83d\ude00""#,
            r#""\uD83D\uDE00""#, r#""\/\b\f\n\r\t\"\\""#, r#""\u0000""#, "\"\u{7f}\"", "\"\u{85}\u{2028}\u{2029}\"",
            "\"\u{feff}\"", "\"🦀\u{e0041}\u{10ffff}\"", r#""\\ud800""#, r#""\u007f""#,
            r#""[[[[{{{{""#,
            r#""\"]""#,
            r#""\ufeff\uffff\ufffe""#,
            r#""NaN""#,
        ],
    );
    add(
        false,
        &[
            "", " ", "01", "-01", "00", "+1", ".5", "1.", "-", "1.e5", "1e", "1e+", "--1", "1e5.5", "0x10", "1_000",
            "1,000", "1e400", "-1e400", "1e99999999999", "1.7976931348623159e308", "\u{661}", "１", "1\u{661}",
            "0 1", "- 1", "1e 5", "1f", "1L", "Infinity", "-Infinity", "NaN", "nan", "-NaN", "inf", "True", "None",
            "TRUE", "nul", "nulll", "undefined", "truefalse", "yes", "[1,]", "[,1]", "[,]", "[1 2]", "[1,,2]",
            "[1",
            "1]",
            "[}",
            "{]",
            "[",
            "]",
            "{", "}", "{,}", r#"{"a":1,}"#, r#"{"a"}"#, r#"{"a":}"#, "{a:1}", "{1:1}", "{null:1}", "{'a':1}",
            r#"{"a":1 "b":2}"#, r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, r#"{"a":1,"b":2,"a":1}"#,
            r#"{"a":{"b":1,"b":1}}"#, r#"[[{"a":1,"a":1}]]"#, r#"{"":1,"":2}"#, r#"{"😀":1,"\ud83d\ude00":2}"#,
            r#"{"a":1;"b":2}"#, r#"{"a"=1}"#, "1//c", "/*c*/1", "1 /*c*/", "#1", "\u{c}1", "\u{b}1", "\u{a0}1",
            "\u{2028}1", "\u{feff}1", "\u{0}1", "1\u{0}", "(1)", "1;", "'a'", "\"a", "a\"", r#""\""#, r#""\x41""#,
            r#""\u12""#, r#""\u{41}""#, r#""\U00000041""#, r#""\u004G""#, r#""\u+041""#, r#""\u 041""#, r#""\0""#,
            r#""\'""#, r#""\a""#, r#""\ud800""#, r#""\udc00""#, r#""\uDFFF""#, r#""\ud800\ud800""#,
            r#""\udc00\ud83d""#, r#""\ud800a""#, r#""\ud800\u0041""#, r#""\ud800\n""#, r#"{"\ud800":1}"#,
            r#"["\udc00"]"#, "\"\t\"", "\"\u{0}\"", "\"\u{1f}\"", "\"\r\"", "\"a\"\"b\"", r#""a"+"b""#, "`a`",
        ],
    );
    // Bytes that are not UTF-8: alone, overlong, surrogates, beyond the end, cut off, Latin-1.
    for bytes in [
        &b"\xff"[..], b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80",
        b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xe2\x82", b"\xe9", b"\x80", b"\xfe\xff", b"\xf0\x9f\xa6",
    ] {
        values.push((false, [b"\"", bytes, b"\""].concat()));
        values.push((false, bytes.to_vec()));
    }
    values.push((false, "1".repeat(400).into()));
    values.push((true, "1".repeat(300).into()));
    values.push((true, format!("0.{}1", "0".repeat(5000)).into()));
    values.push((false, format!("1{}.5e-1", "0".repeat(5000)).into()));
    values
}

/// Each value as a field, inside an array, inside an object, before others.
pub(super) fn odd_values() -> Vec<Form> {
    let mut forms = Vec::new();
    let head = br#","at":-5,"event":"x","#;
    for (number, (holds, value)) in values().into_iter().enumerate() {
        let seq = number % EVENTS;
        let begin = [format!(r#"{{"seq":{seq}"#).as_bytes(), head].concat();
        for (before, after) in [
            (&br#""x":"#[..], &b"}"[..]),
            (br#""x":["#, br#"],"y":1}"#),
            (br#""x":[{"y":"#, br#"}]}"#),
        ] {
            // An empty array, an array that goes on, or an array in an array.
            let is_other = value.is_empty() || value == b" " || value == b"1,000";
            let holds = if is_other && before.ends_with(b"[") {
                value != b"1,000"
            } else {
                holds
            };
            forms.push(Form::with_line(
                holds,
                seq,
                [&begin, before, &value, after].concat(),
            ));
        }
    }
    forms
}

pub(super) fn nested() -> Vec<Form> {
    let mut forms = Vec::new();
    for depth in [1, 2, 62, 63, 64, 65, 126, 127, 128, 1000, 100_000] {
        let (arrays, objects) = (("[", "]"), (r#"{"a":"#, "}"));
        for (open, close) in [arrays, objects] {
            let value = format!("{}0{}", open.repeat(depth), close.repeat(depth));
            let line = format!(r#"{{"seq":3,"at":0,"event":"x","x":{value}}}"#);
            // The line itself is one level, of 64.
            forms.push(Form::with_line(depth <= 63, 3, line));
            let cut = format!(
                r#"{{"seq":3,"at":0,"event":"x","x":{}}}"#,
                open.repeat(depth)
            );
            forms.push(Form::with_line(false, 3, cut));
        }
    }
    // Brackets in texts have no depth, and many beside each other neither.
    for value in [
        format!("\"{}\"", "[".repeat(1000)),
        format!("[{}0]", "[],".repeat(1000)),
    ] {
        let line = format!(r#"{{"seq":3,"at":0,"event":"x","x":{value}}}"#);
        forms.push(Form::with_line(true, 3, line));
    }
    forms
}

/// The first three fields, and what is around an object.
#[rustfmt::skip] // tables
pub(super) fn odd_lines() -> Vec<Form> {
    let mut forms = Vec::new();
    let rest = r#","at":0,"event":"x"}"#;
    for (holds, at) in [
        (true, "0"), (true, "-1"), (true, "9223372036854775807"), (true, "-9223372036854775808"),
        (false, "9223372036854775808"), (false, "-9223372036854775809"), (false, "00"), (false, "-0"),
        (false, "+1"), (false, "1.0"), (false, "1e3"), (false, "\"1\""), (false, "true"), (false, "null"),
        (false, ""), (false, " 1"), (false, "1 "), (false, "[1]"), (false, "\u{661}"),
        (false, "99999999999999999999999999999999999999999999"),
    ] {
        forms.push(Form::with_line(
            holds,
            3,
            format!(r#"{{"seq":3,"at":{at},"event":"x"}}"#),
        ));
    }
    for (holds, event) in [
        (true, r#""x""#), (true, r#""opened""#), (true, r#""some_later_kind""#), (true, r#""_""#), (false, r#""""#),
        (false, r#""Opened""#), (false, r#""open ed""#), (false, r#""\u006fpened""#), (false, "1"), (false, "null"),
        (false, "[]"), (false, r#"["opened"]"#), (false, r#""öffnen""#), (false, r#""x1""#), (false, r#"'x'"#),
        (false, r#" "x""#), (false, r#""x"#), (false, "x"),
    ] {
        forms.push(Form::with_line(
            holds,
            3,
            format!(r#"{{"seq":3,"at":0,"event":{event}}}"#),
        ));
    }
    for seq in [
        "true", "false", "null", "3.0", "3e0", "30e-1", "03", "+3", "-3", " 3", "3 ", "\"3\"", "[3]", "{\"3\":3}",
        "4", "2", "", "0x3", "3_", "3n", "３", "\u{663}", "18446744073709551619",
        "340282366920938463463374607431768211459", "3.0000000000000000000001", "2.9999999999999999999999",
        "3,\"seq\":3", "NaN",
    ] {
        forms.push(Form::with_line(false, 3, format!(r#"{{"seq":{seq}{rest}"#)));
    }
    for seq in ["false", "0.0", "-0", "00", "0e0", "null", "\"\"", "[]"] {
        forms.push(Form::with_line(false, 0, format!(r#"{{"seq":{seq}{rest}"#)));
    }
    forms.push(Form::with_line(false, 1, format!(r#"{{"seq":true{rest}"#)));
    let good = format!(r#"{{"seq":3{rest}"#);
    for odd in [
        format!("[{good}]"), "[3,0,\"x\"]".into(), format!("\"{}\"", good.replace('"', "\\\"")), "3".into(),
        "null".into(), "true".into(), String::new(), " ".into(), format!(" {good}"), format!("\t{good}"),
        format!("{good} "), format!("{good}\t"), format!("{good}\r"), format!("\r{good}"),
        format!("\u{feff}{good}"), format!("{good}\u{feff}"), format!("{good}{good}"), format!("{good},"),
        format!("{good};"), format!("{good}}}"), format!("{{{good}"), format!("{good}x"), format!("{good}//c"),
        format!("{good}\0"), format!("\0{good}"), format!("{good},{good}"), format!("({good})"),
        format!("\u{1e}{good}"), format!("data: {good}"), format!("{good}\u{a0}"), format!("\u{85}{good}"),
        format!("#{good}"), format!("#{}", STANDARD.encode([7; 32])), "#".into(), "@".into(), "@3 4".into(),
        "{}".into(), good.replace("{\"seq", "{ \"seq"), good.replace("seq\":", "seq\" :"),
        good.replace(":3", ": 3"), good.replace("\"seq\"", "'seq'"), good.replace("\"seq\"", "seq"),
        good.replace("seq", "SEQ"), good.replace("seq", "s\\u0065q"), good.replace("seq", "seq "),
        good.replace(",\"at", ", \"at"), good.replace("\"at\"", "\"a\\u0074\""), good.replace("\"x\"}", "\"x\" x}"),
        good.replace(",\"event\":\"x\"", ""), good.replace(",\"at\":0", ""),
        r#"{"at":0,"seq":3,"event":"x"}"#.into(), r#"{"seq":3,"event":"x","at":0}"#.into(),
        r#"{"x":1,"seq":3,"at":0,"event":"x"}"#.into(), good.replace(":0", "=0"), good.replace('"', "\u{201d}"),
    ] {
        forms.push(Form::with_line(false, 3, odd));
    }
    for again in [
        r#""seq":3"#, r#""seq":4"#, r#""s\u0065q":3"#, r#""at":0"#, r#""\u0061t":1"#, r#""event":"x""#,
        r#""event":"opened""#, r#""a":1,"b":2,"a":3"#,
    ] {
        let line = good.replace('}', &format!(",{again}}}"));
        forms.push(Form::with_line(false, 3, line));
    }
    // Names that only look alike, and space between tokens, do no harm.
    for (from, to) in [
        ("}", r#","Seq":9,"seq ":9,"ѕeq":9}"#), ("}", " }"), ("}", " , \"a\" : 1 }"), ("}", ",\t\"a\":\r1\t}"),
    ] {
        forms.push(Form::with_line(true, 3, good.replace(from, to)));
    }
    let wide: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    forms.push(Form::with_line(false, 3, wide));
    let wide: Vec<u8> = good.encode_utf16().flat_map(u16::to_be_bytes).collect();
    forms.push(Form::with_line(false, 3, wide));
    forms
}
