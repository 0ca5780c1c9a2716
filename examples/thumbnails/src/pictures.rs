//! The pictures, their thumbnails, and the proof that a thumbnail is that of its picture.
//!
//! A picture is a chequer of four by four fields, one for each bit of its number, light or dark, under a gradient and
//! noise, so that it compresses about as badly as a photograph.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ginnel::Failure;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageReader, Luma, Rgb, RgbImage, imageops};
use indicatif::{ParallelProgressIterator, ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

const FIELDS: u32 = 4;
const LIGHT: u8 = 170;
const DARK: u8 = 40;
/// What Pillow takes, too, where nothing is said.
const QUALITY: u8 = 75;

/// How large the pictures are, and the longer side of a thumbnail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) side: u32,
}

/// One thumbnail to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    pub(crate) side: u32,
}

impl Job {
    pub(crate) fn new(from: &Path, to: &Path, number: u32, side: u32) -> Self {
        let name = file_name(number);
        Self { from: from.join(&name), to: to.join(name), side }
    }
}

/// The work itself, whoever does it: bytes written.
pub(crate) fn thumbnail(job: Job) -> Result<u64, Failure> {
    let picture = ImageReader::open(&job.from)?.decode()?;
    let small = picture.thumbnail(job.side, job.side);
    let mut file = BufWriter::new(File::create(&job.to)?);
    JpegEncoder::new_with_quality(&mut file, QUALITY).encode_image(&small)?;
    file.flush()?;
    Ok(file.get_ref().metadata()?.len())
}

/// Makes the pictures of a folder, on all processors.
pub(crate) fn make(folder: &Path, count: u32, shape: Shape) -> Result<(), Failure> {
    let style = ProgressStyle::with_template("making pictures {bar:40} {pos}/{len}")?;
    let bar = ProgressBar::new(count.into()).with_style(style);
    let made: Result<(), image::ImageError> = (0..count)
        .into_par_iter()
        .progress_with(bar.clone())
        .map(|number| {
            let mut file = BufWriter::new(File::create(folder.join(file_name(number)))?);
            JpegEncoder::new_with_quality(&mut file, 90).encode_image(&draw(number, shape))?;
            Ok(file.flush()?)
        })
        .collect();
    bar.finish_and_clear();
    Ok(made?)
}

/// Is this the thumbnail of that picture?
pub(crate) fn check(path: &Path, number: u32, shape: Shape) -> Result<(), Failure> {
    let wrong = |what: String| Failure::msg(format!("{}: {what}", path.display()));
    let small = ImageReader::open(path).map_err(|why| wrong(why.to_string()))?.decode()?.into_luma8();
    let (width, height) = small.dimensions();
    let scale = f64::from(shape.side) / f64::from(shape.width.max(shape.height));
    for (found, full) in [(width, shape.width), (height, shape.height)] {
        if (f64::from(found) - f64::from(full) * scale).abs() > 1.0 {
            return Err(wrong(format!("it is {width} by {height}")));
        }
    }
    let legible = (0..FIELDS * FIELDS).filter(|bit| {
        let middle = |place: u32, size: u32| (2 * place + 1) * size / (2 * FIELDS);
        let Luma([grey]) = small.get_pixel(middle(bit % FIELDS, width), middle(bit / FIELDS, height));
        *grey > 128
    });
    let found: u32 = legible.map(|bit| 1 << bit).sum();
    if found == number { Ok(()) } else { Err(wrong(format!("it shows picture {found}, not {number}"))) }
}

fn file_name(number: u32) -> String {
    format!("{number:05}.jpeg")
}

fn draw(number: u32, shape: Shape) -> RgbImage {
    let mut noise = u64::from(number) << 32 | 1;
    let mut picture = RgbImage::new(shape.width, shape.height);
    for (x, y, Rgb(pixel)) in picture.enumerate_pixels_mut() {
        let bit = y * FIELDS / shape.height * FIELDS + x * FIELDS / shape.width;
        let base = if number >> bit & 1 == 1 { LIGHT } else { DARK };
        // Knuth's generator of the MMIX; its upper bits are the good ones.
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let grain = (noise >> 60) as u8;
        let slope = (x * 40 / shape.width) as u8;
        *pixel = [base + slope, base + grain, base + 40 - slope];
    }
    imageops::blur(&picture, 0.6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbnail_is_told_from_that_of_another_picture_and_from_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let shape = Shape { width: 200, height: 120, side: 40 };
        make(folder.path(), 3, shape).expect("pictures");
        std::fs::create_dir(folder.path().join("small")).expect("a folder");
        let job = Job::new(folder.path(), &folder.path().join("small"), 2, shape.side);
        assert!(check(&job.to, 2, shape).is_err(), "nothing is there yet");
        let bytes = thumbnail(job.clone()).expect("a thumbnail");
        assert_eq!(std::fs::metadata(&job.to).expect("a file").len(), bytes);
        check(&job.to, 2, shape).expect("it is");
        let other = check(&job.to, 1, shape).expect_err("it is another");
        assert!(other.to_string().contains("it shows picture 2, not 1"), "{other}");
        let larger = Shape { side: 60, ..shape };
        assert!(check(&job.to, 2, larger).is_err(), "it is too small");
    }
}
