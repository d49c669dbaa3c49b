//! Annexes of orders: a sheet or a CSV file becomes lines of text, each a name, a URL, or whatever else somebody wrote.
//!
//! Read here and not by the resolver: a file that somebody made to hurt hurts this command alone. It is read as data; no
//! formula is worked out.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use calamine::{Data, Reader, Xlsx};

use crate::engine::limits::{ANNEX_OCTETS_MAX, ANNEX_ROWS_MAX, ANNEX_UNPACKED_OCTETS_MAX, PERSON_TEXT_OCTETS_MAX};
use crate::engine::name::Name;

/// Titles of the column with names, in any case; of several the first that there is.
const TITLES: [&str; 8] = ["tên miền", "domain", "domains", "fqdn", "hostname", "url", "website", "link"];

/// A row of a file, counted from 1 as a spreadsheet or an editor does, and its cells.
type Row = (usize, Vec<String>);
type Rows = Vec<Row>;

/// What was picked of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Picked {
    /// The cells of one column, each with the number of its row.
    pub lines: Vec<(usize, String)>,
    /// Another column that holds names, which nobody said to leave out.
    pub other: Option<OtherColumn>,
}

/// A column that was not taken.
#[derive(Debug, PartialEq, Eq)]
pub struct OtherColumn {
    /// As a spreadsheet calls it: `C`.
    pub letter: String,
    pub title: Option<String>,
    pub names: usize,
    /// The first of them, and its row.
    pub first: (usize, String),
}

/// The lines of a file, by the end of its name: `.xlsx`, `.csv`, or one a line.
///
/// # Errors
/// Why it cannot be read, with the bound and the value.
pub fn lines(path: &Path, column: Option<&str>) -> Result<Picked, String> {
    let bad = |why: String| format!("{}: {why}", path.display());
    let octets = read_at_most(path, ANNEX_OCTETS_MAX).map_err(bad)?;
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let rows = match extension.as_str() {
        "xlsx" => sheet(octets),
        "csv" => table(&octets),
        _ => String::from_utf8(octets)
            .map_err(|_| "it is no UTF-8".to_owned())
            .map(|text| text.lines().enumerate().map(|(i, line)| (i + 1, vec![line.to_owned()])).collect()),
    };
    rows.and_then(|rows| pick(rows, column)).map_err(bad)
}

/// A whole file, which may be a pipe: how long it is is known at its end.
///
/// # Errors
/// Why it cannot be read, or the bound that it is beyond.
pub fn read_at_most(path: &Path, octets_max: u64) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let read = File::open(path).and_then(|file| file.take(octets_max + 1).read_to_end(&mut octets));
    read.map_err(|why| why.to_string())?;
    if octets.len() as u64 > octets_max {
        return Err(format!("it is larger than {octets_max} octets"));
    }
    Ok(octets)
}

/// Rows of a CSV file with commas, semicolons or tabs.
pub fn table(octets: &[u8]) -> Result<Rows, String> {
    let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
    if let Err(why) = std::str::from_utf8(octets) {
        let line = 1 + octets[..why.valid_up_to()].iter().filter(|octet| **octet == b'\n').count();
        return Err(format!(
            "line {line}: it is no UTF-8; in Excel, save it as \"CSV UTF-8\", not as \"Unicode text\""
        ));
    }
    let first = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let count = |delimiter: u8| first.iter().filter(|octet| **octet == delimiter).count();
    let delimiter = [b',', b';', b'\t'].into_iter().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',');
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(octets);
    let mut rows = Vec::new();
    let (mut record, mut line, mut counted) = (csv::StringRecord::new(), 1, 0);
    loop {
        let from = reader.position().byte() as usize;
        if !reader.read_record(&mut record).map_err(|why| why.to_string())? {
            return Ok(rows);
        }
        if rows.len() >= ANNEX_ROWS_MAX {
            return Err(format!("more than {ANNEX_ROWS_MAX} rows"));
        }
        // The reader passes over empty lines by itself; a row has the number of the line where its first octet stands.
        let empty = octets[from..].iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
        line += octets[counted..from + empty].iter().filter(|octet| **octet == b'\n').count();
        counted = from + empty;
        rows.push((line, record.iter().map(str::to_owned).collect()));
    }
}

/// Rows of the one sheet of a workbook that holds something.
///
/// # Errors
/// It is none, too large, or several sheets hold something: nobody says that a further one is to be left out.
pub fn sheet(octets: Vec<u8>) -> Result<Rows, String> {
    check_unpacked(&octets)?;
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(octets)).map_err(|why| format!("it is no workbook: {why}"))?;
    let names = book.sheet_names();
    if names.is_empty() {
        return Err("it has no sheet".to_owned());
    }
    let mut found: Option<(String, Rows)> = None;
    for name in names {
        let rows = rows_of(&mut book, &name)?;
        match &found {
            _ if rows.is_empty() => {}
            None => found = Some((name, rows)),
            Some((first, _)) => {
                return Err(format!(
                    "its sheets {first:?} and {name:?} both hold something; save the one that is meant as a file of its own"
                ));
            }
        }
    }
    Ok(found.map_or_else(Vec::new, |(_, rows)| rows))
}

fn rows_of(book: &mut Xlsx<Cursor<Vec<u8>>>, name: &str) -> Result<Rows, String> {
    // Cells are read one by one: a sheet of two cells that lie far apart would make a table of everything between them.
    let mut cells = book.worksheet_cells_reader(name).map_err(|why| why.to_string())?;
    let mut rows: Rows = Vec::new();
    let mut row_at = None;
    while let Some(cell) = cells.next_cell().map_err(|why| why.to_string())? {
        let text = match Data::from(cell.get_value().clone()) {
            Data::String(text) => text,
            Data::Empty => continue,
            other => other.to_string(),
        };
        let (row, column) = cell.get_position();
        if row_at != Some(row) {
            if rows.len() >= ANNEX_ROWS_MAX {
                return Err(format!("more than {ANNEX_ROWS_MAX} rows"));
            }
            row_at = Some(row);
            rows.push((row as usize + 1, Vec::new()));
        }
        let (_, cells) = rows.last_mut().expect("a row was pushed");
        // Columns beyond these hold nothing that we look for.
        if (column as usize) < COLUMNS_MAX {
            cells.resize((column as usize + 1).max(cells.len()), String::new());
            cells[column as usize] = text;
        }
    }
    Ok(rows)
}

/// Columns that are looked at. Chosen: an annex has a dozen.
const COLUMNS_MAX: usize = 64;

/// Unpacks every part, keeps nothing, and counts: what a zip says of itself need not be so.
fn check_unpacked(octets: &[u8]) -> Result<(), String> {
    let no_workbook = |why: &dyn std::fmt::Display| format!("it is no workbook: {why}");
    let mut zip = zip::ZipArchive::new(Cursor::new(octets)).map_err(|why| no_workbook(&why))?;
    let mut unpacked = 0;
    for i in 0..zip.len() {
        let part = zip.by_index(i).map_err(|why| no_workbook(&why))?;
        let left = ANNEX_UNPACKED_OCTETS_MAX + 1 - unpacked;
        unpacked += std::io::copy(&mut part.take(left), &mut std::io::sink()).map_err(|why| no_workbook(&why))?;
        if unpacked > ANNEX_UNPACKED_OCTETS_MAX {
            return Err(format!("it unpacks to more than {ANNEX_UNPACKED_OCTETS_MAX} octets"));
        }
    }
    Ok(())
}

/// The column with names: the one that is named, else one with a title that we know, else the first that looks like names.
fn pick(rows: Rows, column: Option<&str>) -> Result<Picked, String> {
    let plain = |text: &str| text.trim().to_lowercase();
    // Titles stand in the first rows, below a letterhead perhaps.
    let head = || rows.iter().take(30).enumerate();
    let find =
        |wanted: &str| head().find_map(|(y, (_, row))| Some((y, row.iter().position(|cell| plain(cell) == wanted)?)));
    let (from, at) = match column {
        Some(title) => {
            let (y, x) = find(&plain(title)).ok_or_else(|| format!("no column is titled {title:?}"))?;
            (y + 1, x)
        }
        None => match TITLES.into_iter().find_map(find) {
            Some((y, x)) => (y + 1, x),
            None => (0, likeliest(&rows)),
        },
    };
    let other = if column.is_none() { other_column(&rows, from, at) } else { None };
    let cells = rows.into_iter().skip(from).filter_map(|(number, mut row)| {
        let cell = if at < row.len() { row.swap_remove(at) } else { String::new() };
        Some((number, cell.trim().to_owned())).filter(|(_, cell)| !cell.is_empty())
    });
    let lines: Vec<(usize, String)> = cells.collect();
    if let Some((number, long)) = lines.iter().find(|(_, line)| line.len() > 8 * PERSON_TEXT_OCTETS_MAX) {
        return Err(format!("row {number}: a cell has {} octets, at most {}", long.len(), 8 * PERSON_TEXT_OCTETS_MAX));
    }
    Ok(Picked { lines, other })
}

/// The first column beside the one at `at`, below the titles, most of whose cells are names.
fn other_column(rows: &Rows, from: usize, at: usize) -> Option<OtherColumn> {
    let columns = rows.iter().map(|(_, row)| row.len()).max().unwrap_or(0);
    (0..columns).filter(|x| *x != at).find_map(|x| {
        let cells = || {
            let cells = rows.iter().skip(from).filter_map(move |(number, row)| Some((*number, row.get(x)?.trim())));
            cells.filter(|(_, cell)| !cell.is_empty())
        };
        let names = cells().filter(|(_, cell)| is_name(cell)).count();
        let (number, first) = cells().find(|(_, cell)| is_name(cell))?;
        let above = from.checked_sub(1).and_then(|y| rows[y].1.get(x)).map(|title| title.trim().to_owned());
        let title = above.filter(|title| !title.is_empty());
        (2 * names > cells().count()).then(|| OtherColumn {
            letter: letters(x),
            title,
            names,
            first: (number, first.into()),
        })
    })
}

/// Whether a cell can only be a host's name or a URL: it has a dot, no space, and its last label is no number.
fn is_name(cell: &str) -> bool {
    let host = cell.split_once("://").map_or(cell, |(_, rest)| rest).split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.replace("[.]", ".");
    let (Some((_, top)), Ok(_)) = (host.rsplit_once('.'), Name::from_text(&host)) else { return false };
    !cell.contains([' ', '@']) && top.chars().count() >= 2 && top.chars().all(|c| c.is_alphabetic() || c == '-')
}

/// The letters of a column, as a spreadsheet counts: A … Z, AA …
fn letters(x: usize) -> String {
    let last = char::from(b'A' + (x % 26) as u8);
    if x < 26 { last.to_string() } else { format!("{}{last}", letters(x / 26 - 1)) }
}

/// The column with the most cells that hold a dot and no space.
fn likeliest(rows: &Rows) -> usize {
    let columns = rows.iter().map(|(_, row)| row.len()).max().unwrap_or(0);
    let looks = |cell: &String| cell.contains('.') && !cell.trim().contains(' ');
    let count = |x: usize| rows.iter().filter(|(_, row)| row.get(x).is_some_and(looks)).count();
    (0..columns).max_by_key(|x| (count(*x), std::cmp::Reverse(*x))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    type Part = zip::ZipWriter<Cursor<Vec<u8>>>;

    /// A workbook whose only sheet is written by `write`.
    fn workbook(write: &dyn Fn(&mut Part) -> std::io::Result<()>) -> Vec<u8> {
        const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
        const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
        const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
        let mut zip = Part::new(Cursor::new(Vec::new()));
        let mut part = |name: &str, text: &str| {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        };
        part("[Content_Types].xml", &format!("<Types xmlns=\"{PACKAGE}/content-types\"></Types>"));
        part(
            "_rels/.rels",
            &format!(
                "<Relationships xmlns=\"{PACKAGE}/relationships\"><Relationship Id=\"r1\" \
                 Type=\"{OFFICE}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
            ),
        );
        part(
            "xl/workbook.xml",
            &format!(
                "<workbook xmlns=\"{MAIN}\" xmlns:r=\"{OFFICE}\"><sheets><sheet name=\"a\" sheetId=\"1\" \
                 r:id=\"r1\"/></sheets></workbook>"
            ),
        );
        part(
            "xl/_rels/workbook.xml.rels",
            &format!(
                "<Relationships xmlns=\"{PACKAGE}/relationships\"><Relationship Id=\"r1\" Type=\"{OFFICE}/worksheet\" \
                 Target=\"worksheets/sheet1.xml\"/></Relationships>"
            ),
        );
        zip.start_file("xl/worksheets/sheet1.xml", zip::write::SimpleFileOptions::default()).unwrap();
        write(&mut zip).unwrap();
        zip.finish().unwrap().into_inner()
    }

    /// One with these cells, as `(reference, text)`.
    fn cells(cells: &[(&str, &str)]) -> Vec<u8> {
        let row = |at: &str| at.trim_start_matches(char::is_alphabetic).to_owned();
        let rows: String = cells
            .chunk_by(|a, b| row(a.0) == row(b.0))
            .map(|of_row| {
                let cells: String = of_row
                    .iter()
                    .map(|(at, text)| format!("<c r=\"{at}\" t=\"inlineStr\"><is><t>{text}</t></is></c>"))
                    .collect();
                format!("<row r=\"{}\">{cells}</row>", row(of_row[0].0))
            })
            .collect();
        workbook(&|part| {
            let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
            write!(part, "<worksheet xmlns=\"{main}\"><sheetData>{rows}</sheetData></worksheet>")
        })
    }

    #[test]
    fn the_sheet_of_a_workbook_is_read() {
        let octets = cells(&[
            ("A1", "PHỤ LỤC"),
            ("A3", "STT"),
            ("B3", "Tên miền"),
            ("A4", "1"),
            ("B4", "bad.example"),
            ("B5", " hxxp://worse[.]example/x "),
        ]);
        let rows = sheet(octets).unwrap();
        assert_eq!(
            pick(rows, None).unwrap().lines,
            [(4, "bad.example".to_owned()), (5, "hxxp://worse[.]example/x".to_owned())]
        );
        // Two cells that lie far apart are two cells.
        let far = sheet(cells(&[("A1", "a.example"), ("XFD1048576", "b.example")])).unwrap();
        assert_eq!(far, [(1, vec!["a.example".to_owned()]), (1_048_576, vec![])]);
    }

    #[test]
    fn the_column_with_names_is_found() {
        for (text, column, expected) in [
            ("STT,Tên miền,Ghi chú\n1,bad.example,x\n2,worse.example,y\n", None, vec!["bad.example", "worse.example"]),
            ("PHỤ LỤC;;\nSTT;Domain;\n1;bad.example;x.y\n", None, vec!["bad.example"]),
            ("bad.example\nworse.example\n", None, vec!["bad.example", "worse.example"]),
            ("1\tbad.example\n2\tworse.example\n", None, vec!["bad.example", "worse.example"]),
            ("a,b\nx.example,y.example\n", Some("B"), vec!["y.example"]),
            ("\u{feff}url\n\"https://bad.example/a,b\"\n", None, vec!["https://bad.example/a,b"]),
            ("", None, vec![]),
        ] {
            let rows = table(text.as_bytes()).unwrap();
            let lines = pick(rows, column).unwrap().lines;
            assert_eq!(lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>(), expected, "{text}");
        }
        assert!(pick(table(b"a,b\n").unwrap(), Some("c")).unwrap_err().contains("no column is titled"));
    }

    #[test]
    fn rows_have_the_numbers_that_an_editor_shows() {
        for (text, expected) in [
            ("STT,Domain\n1,a.example\n\n\n2,b.example\n", vec![2, 5]),
            ("\n\nDomain\r\n\r\na.example\r\nb.example", vec![5, 6]),
            // A cell of two lines.
            ("Domain,x\na.example,\"one\ntwo\"\nb.example,y\n", vec![2, 4]),
            ("\u{feff}a.example\nb.example\n", vec![1, 2]),
        ] {
            let lines = pick(table(text.as_bytes()).unwrap(), None).unwrap().lines;
            assert_eq!(lines.into_iter().map(|(number, _)| number).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_second_column_of_names_is_told() {
        for (text, column, expected) in [
            (
                "Domain,Dự phòng\na.example,b.example\nc.example,\n",
                None,
                Some(("B", Some("Dự phòng"), 1, 2, "b.example")),
            ),
            ("a.example,x,https://b.example/y\n", None, Some(("C", None, 1, 1, "https://b.example/y"))),
            // Whoever names a column means it.
            ("Domain,Dự phòng\na.example,b.example\n", Some("domain"), None),
            ("Domain,Ngày,Điểm,Thư,Ghi chú\na.example,01.02.2026,1.5,an@b.example,x. y\n", None, None),
            ("Domain,Ghi chú\na.example,xem b.example\nb.example,c.example\nd.example,không\n", None, None),
        ] {
            let other = pick(table(text.as_bytes()).unwrap(), column).unwrap().other;
            let told = other.as_ref().map(|o| (&*o.letter, o.title.as_deref(), o.names, o.first.0, &*o.first.1));
            assert_eq!(told, expected, "{text}");
        }
        assert_eq!([0, 25, 26, 27, 51, 52].map(letters), ["A", "Z", "AA", "AB", "AZ", "BA"]);
    }

    #[test]
    fn what_is_no_workbook_or_too_much_is_refused() {
        for octets in [&b""[..], b"PK", b"hello", b"PK\x03\x04", &[0x50, 0x4b, 1, 2, 0, 0, 0]] {
            assert!(sheet(octets.to_vec()).is_err(), "{octets:?}");
        }
        let zeros = vec![0; 1 << 20];
        let bomb = workbook(&|part| (0..130).try_for_each(|_| part.write_all(&zeros)));
        assert!(bomb.len() < 1 << 20);
        assert!(sheet(bomb).unwrap_err().contains("unpacks to more than 134217728"));
        // As Excel saves "Unicode text", and what an old program writes.
        for (octets, line) in [(&b"\xff\xfea\0.\0v\0n\0\n\0"[..], 1), (b"a.example\nb\xecnh.example\n", 2)] {
            let told = table(octets).unwrap_err();
            assert!(told.starts_with(&format!("line {line}: it is no UTF-8; in Excel, save it as")), "{told}");
        }
        let many = "a.example\n".repeat(ANNEX_ROWS_MAX + 1);
        assert!(table(many.as_bytes()).unwrap_err().contains("rows"));
    }
}
