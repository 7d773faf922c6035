"""Write 224-pixel shards with img2dataset; run it with the Python that has img2dataset.

    python scripts/peers/img2dataset_write.py images.csv OUT --threads 8

`images.csv` has the columns url (file:///...) and label.
"""

from __future__ import annotations

import argparse

from img2dataset import download  # type: ignore[import-not-found]

LEAN = {"extract_exif": False, "compute_hash": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("out")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=8, help="reading threads in each process")
    parser.add_argument("--shard-samples", type=int, default=1000)
    parser.add_argument("--lean", action="store_true", help="without EXIF and hashes, which it makes by default")
    args = parser.parse_args()
    download(
        url_list=args.images,
        input_format="csv",
        caption_col="label",
        output_folder=args.out,
        output_format="webdataset",
        number_sample_per_shard=args.shard_samples,
        image_size=224,
        resize_mode="border",
        encode_format="jpg",
        encode_quality=90,
        processes_count=args.workers,
        thread_count=args.threads,
        enable_wandb=False,
        **LEAN if args.lean else {},
    )


if __name__ == "__main__":
    main()
