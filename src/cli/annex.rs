//! Annexes of orders: a sheet or a CSV file becomes lines of text, each a name, a URL, or whatever else somebody wrote.
//!
//! Read here and not by the resolver: a file that somebody made to hurt hurts this command alone. It is read as data; no
//! formula is worked out.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use calamine::{Data, Reader, Xlsx};

use crate::engine::limits::{ANNEX_OCTETS_MAX, ANNEX_ROWS_MAX, ANNEX_UNPACKED_OCTETS_MAX, PERSON_TEXT_OCTETS_MAX};

/// Titles of the column with names, in any case; of several the first that there is.
const TITLES: [&str; 8] = ["tên miền", "domain", "domains", "fqdn", "hostname", "url", "website", "link"];

/// The lines of a file, by the end of its name: `.xlsx`, `.csv`, or one a line.
///
/// # Errors
/// Why it cannot be read, with the bound and the value.
pub fn lines(path: &Path, column: Option<&str>) -> Result<Vec<String>, String> {
    let bad = |why: String| format!("{}: {why}", path.display());
    let file = File::open(path).map_err(|why| bad(why.to_string()))?;
    let mut octets = Vec::new();
    file.take(ANNEX_OCTETS_MAX + 1).read_to_end(&mut octets).map_err(|why| bad(why.to_string()))?;
    if octets.len() as u64 > ANNEX_OCTETS_MAX {
        return Err(bad(format!("it is larger than {ANNEX_OCTETS_MAX} octets")));
    }
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let rows = match extension.as_str() {
        "xlsx" => sheet(octets),
        "csv" => table(&octets),
        _ => String::from_utf8(octets)
            .map_err(|_| "it is no UTF-8".to_owned())
            .map(|text| text.lines().map(|line| vec![line.to_owned()]).collect()),
    };
    rows.and_then(|rows| pick(rows, column)).map_err(bad)
}

type Rows = Vec<Vec<String>>;

/// Rows of a CSV file with commas, semicolons or tabs.
pub fn table(octets: &[u8]) -> Result<Rows, String> {
    let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
    let first = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let count = |delimiter: u8| first.iter().filter(|octet| **octet == delimiter).count();
    let delimiter = [b',', b';', b'\t'].into_iter().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',');
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(octets);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|why| why.to_string())?;
        if rows.len() >= ANNEX_ROWS_MAX {
            return Err(format!("more than {ANNEX_ROWS_MAX} rows"));
        }
        rows.push(record.iter().map(str::to_owned).collect());
    }
    Ok(rows)
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
            rows.push(Vec::new());
        }
        let cells = rows.last_mut().expect("a row was pushed");
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
fn pick(rows: Rows, column: Option<&str>) -> Result<Vec<String>, String> {
    let plain = |text: &str| text.trim().to_lowercase();
    // Titles stand in the first rows, below a letterhead perhaps.
    let head = || rows.iter().take(30).enumerate();
    let find = |wanted: &str| head().find_map(|(y, row)| Some((y, row.iter().position(|cell| plain(cell) == wanted)?)));
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
    let cells =
        rows.into_iter().skip(from).map(|mut row| if at < row.len() { row.swap_remove(at) } else { String::new() });
    let lines: Vec<String> = cells.map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect();
    if let Some(long) = lines.iter().find(|line| line.len() > 8 * PERSON_TEXT_OCTETS_MAX) {
        return Err(format!("a cell has {} octets, at most {}", long.len(), 8 * PERSON_TEXT_OCTETS_MAX));
    }
    Ok(lines)
}

/// The column with the most cells that hold a dot and no space.
fn likeliest(rows: &Rows) -> usize {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let looks = |cell: &String| cell.contains('.') && !cell.trim().contains(' ');
    let count = |x: usize| rows.iter().filter(|row| row.get(x).is_some_and(looks)).count();
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
        assert_eq!(pick(rows, None).unwrap(), ["bad.example", "hxxp://worse[.]example/x"]);
        // Two cells that lie far apart are two cells.
        let far = sheet(cells(&[("A1", "a.example"), ("XFD1048576", "b.example")])).unwrap();
        assert_eq!(far, [vec!["a.example".to_owned()], vec![]]);
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
            assert_eq!(pick(rows, column).unwrap(), expected, "{text}");
        }
        assert!(pick(table(b"a,b\n").unwrap(), Some("c")).unwrap_err().contains("no column is titled"));
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
        let many = "a.example\n".repeat(ANNEX_ROWS_MAX + 1);
        assert!(table(many.as_bytes()).unwrap_err().contains("rows"));
    }
}
