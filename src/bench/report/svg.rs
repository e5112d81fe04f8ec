//! Pictures: for each section one, with a line for each measurement and a dot for each runtime. The axis says how many times
//! the native figure it is, and is logarithmic: twice and half are as far away from native.

use anyhow::{Result, anyhow};
use plotters::backend::SVGBackend;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, TextStyle, WHITE};

use crate::bench::results::{Results, Row, Section};

/// Widths and heights in pixels.
const WIDTH: i32 = 960;
const NAMES_WIDTH: i32 = 360;
const LINE_HEIGHT: i32 = 20;
const LEGEND_COLUMNS: i32 = 4;
const MARGIN: i32 = 24;
const TEXT_SIZE: i32 = 13;
const DOT: i32 = 4;

const DARK: RGBColor = RGBColor(40, 40, 40);
const LIGHT: RGBColor = RGBColor(215, 215, 215);
/// Colours that can be told apart without seeing colours well (Okabe and Ito), the darkest first.
const COLOURS: [RGBColor; 10] = [
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(240, 228, 66),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(120, 94, 60),
    RGBColor(150, 150, 150),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// The picture of a section; none if it has nothing to show.
pub(super) fn svg(results: &Results, section: Section) -> Result<Option<String>> {
    let rows: Vec<&Row> = results.rows(section).filter(|row| !ratios(row).is_empty()).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let mut picture = String::new();
    let legend_lines = (as_i32(results.runtimes.len()) + LEGEND_COLUMNS - 1) / LEGEND_COLUMNS;
    let top = MARGIN + LINE_HEIGHT * (legend_lines + 2);
    let height = top + LINE_HEIGHT * as_i32(rows.len()) + MARGIN;
    {
        let size = (u32::try_from(WIDTH)?, u32::try_from(height)?);
        let area = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        let drawn = draw(&area, results, section, &rows, top, height - MARGIN);
        drawn
            .and_then(|()| Ok(area.present()?))
            .map_err(|error| anyhow!("cannot draw a picture: {error}"))?;
    }
    Ok(Some(picture))
}

/// Index and ratio of each runtime but the native one.
fn ratios(row: &Row) -> Vec<(usize, f64)> {
    (1..row.cells.len())
        .filter_map(|index| Some((index, row.ratio(index).filter(|&ratio| ratio > 0.0)?)))
        .collect()
}

fn draw(
    area: &Area<'_>,
    results: &Results,
    section: Section,
    rows: &[&Row],
    top: i32,
    bottom: i32,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    area.fill(&WHITE)?;
    let at_left = style(HPos::Left);
    let title = format!("{}: how many times native", section.title());
    area.draw(&Text::new(title, (MARGIN, MARGIN), at_left.clone()))?;
    for (index, runtime) in results.runtimes.iter().enumerate().skip(1) {
        let (line, column) = (as_i32(index - 1) / LEGEND_COLUMNS, as_i32(index - 1) % LEGEND_COLUMNS);
        let place =
            (MARGIN + column * (WIDTH - 2 * MARGIN) / LEGEND_COLUMNS, MARGIN + LINE_HEIGHT * (line + 1));
        area.draw(&Circle::new(place, DOT, colour(index).filled()))?;
        area.draw(&Text::new(runtime.name.clone(), (place.0 + 2 * DOT, place.1), at_left.clone()))?;
    }
    let axis = Axis::over(rows.iter().flat_map(|row| ratios(row)).map(|(_, ratio)| ratio));
    for power in axis.least..=axis.most {
        let ratio = 10f64.powi(power);
        let x = axis.place(ratio);
        let line = if power == 0 { DARK } else { LIGHT };
        area.draw(&PathElement::new(vec![(x, top - LINE_HEIGHT / 2), (x, bottom)], line.stroke_width(1)))?;
        area.draw(&Text::new(format!("×{ratio}"), (x, top - LINE_HEIGHT), style(HPos::Center)))?;
    }
    for (number, row) in rows.iter().enumerate() {
        let y = top + LINE_HEIGHT * as_i32(number) + LINE_HEIGHT / 2;
        let line = vec![(NAMES_WIDTH, y), (WIDTH - MARGIN, y)];
        area.draw(&PathElement::new(line, LIGHT.stroke_width(1)))?;
        area.draw(&Text::new(row.title.clone(), (NAMES_WIDTH - MARGIN / 2, y), style(HPos::Right)))?;
        for (index, ratio) in ratios(row) {
            area.draw(&Circle::new((axis.place(ratio), y), DOT, colour(index).mix(0.85).filled()))?;
        }
    }
    Ok(())
}

fn style(horizontal: HPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", TEXT_SIZE).into_font())
        .color(&DARK)
        .pos(Pos::new(horizontal, VPos::Center))
}

fn colour(index: usize) -> RGBColor {
    COLOURS.get(index % COLOURS.len()).copied().unwrap_or(DARK)
}

/// A logarithmic axis over whole powers of ten.
struct Axis {
    least: i32,
    most: i32,
}

impl Axis {
    /// One that all these values lie on, and 1.
    fn over(values: impl Iterator<Item = f64>) -> Axis {
        let powers = values.map(f64::log10);
        let (least, most) =
            powers.fold((0.0, 0.0), |(low, high): (f64, f64), power| (low.min(power), high.max(power)));
        // At least one decade, so that nothing is divided by zero.
        Axis { least: least.floor() as i32, most: (most.ceil() as i32).max(1) }
    }

    /// Where a value lies, in pixels from the left.
    fn place(&self, value: f64) -> i32 {
        let share = (value.log10() - f64::from(self.least)) / f64::from(self.most - self.least);
        let width = f64::from(WIDTH - MARGIN - NAMES_WIDTH);
        NAMES_WIDTH + (share * width).round() as i32
    }
}

/// A count of lines or runtimes, which is small.
fn as_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::html::tests::assert_well_formed;
    use crate::bench::results::tests::sample;

    #[test]
    fn a_picture_is_well_formed_and_names_what_it_shows() {
        let picture = svg(&sample(), Section::Micro).unwrap().unwrap();
        assert_well_formed(&picture);
        assert!(picture.starts_with("<svg "));
        assert!(
            picture.contains("usk trap") && picture.contains("title of getppid &lt;&amp;&gt;"),
            "{picture}"
        );
    }

    #[test]
    fn there_is_no_picture_of_nothing() {
        assert!(svg(&sample(), Section::IoWithStart).unwrap().is_none());
    }

    #[test]
    fn the_axis_reaches_over_all_values_and_one() {
        let axis = Axis::over([0.5, 300.0].into_iter());
        assert_eq!((axis.least, axis.most), (-1, 3));
        assert_eq!(axis.place(0.1), NAMES_WIDTH);
        assert_eq!(axis.place(1000.0), WIDTH - MARGIN);
        let axis = Axis::over(std::iter::empty());
        assert_eq!((axis.least, axis.most), (0, 1));
    }
}
