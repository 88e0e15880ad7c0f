"""`meid-bench import-features` and `export-features`: folders of .npy files, in and out."""

from pathlib import Path

import click

from meid_bench.cli.account_text import allow_missing_option, print_account, refuse_missing
from meid_bench.cli.options import dataset_option, root_option


@click.command("import-features")
@click.argument("folder", type=click.Path(path_type=Path))
@dataset_option
@click.option("--encoder", metavar="NAME", help="The model that made them.")
@click.option("--weights", metavar="NAME", help="Its weights; random:SEED for untrained ones.")
@click.option("--transform", metavar="TEXT", help="Its preprocessing, in words.")
@click.option("--videos", "source", metavar="TEXT", help="Of which videos, such as 480p.")
@allow_missing_option
@root_option
def import_features(
    folder: Path,
    dataset: str,
    encoder: str | None,
    weights: str | None,
    transform: str | None,
    source: str | None,
    allow_missing: int,
    root: Path,
) -> None:
    """Make FOLDER's <video_id>.npy, (T, D) each, a feature store of a benchmark.

    How they were made is what the options say, or the manifest.json beside them, or unknown.
    Rows of the board on imported features are marked.

    \b
    meid-bench import-features clips/ --dataset charadeslt --encoder clip-vit-l14
    """
    from meid_bench.benchmark.benchmark import load_benchmark
    from meid_bench.features.account import take_account
    from meid_bench.features.manifest import load_manifest
    from meid_bench.features.transfer import Origin
    from meid_bench.features.transfer import import_features as copy_in

    benchmark = load_benchmark(dataset, root)
    store = copy_in(benchmark, folder, root, Origin(encoder, weights, transform, source))
    manifest = load_manifest(store)
    click.echo(f"features  {store}")
    click.echo(f"made by   {manifest.recipe.encoder}, weights {manifest.weights}")
    if rounded := manifest.provenance["rounded_to_float16"]:
        click.echo(f"rounded   {rounded} files held more digits than float16 keeps")
    if others := manifest.provenance["not_listed"]:
        click.echo(f"left out  {others} files of videos that {benchmark.name} does not list")
    account = take_account(benchmark, store)
    print_account(account)
    refuse_missing(account, allow_missing)
    click.echo(f"next: meid-bench run --dataset {benchmark.name} --features {store.name}")


@click.command("export-features")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@dataset_option
@click.option("--features", metavar="NAME", help="Which store, where there are several.")
@root_option
def export_features(folder: Path, dataset: str, features: str | None, root: Path) -> None:
    """Write a feature store into FOLDER, one <video_id>.npy of (T, D) float16 a video."""
    from meid_bench.benchmark.benchmark import load_benchmark
    from meid_bench.features.store import find_store
    from meid_bench.features.transfer import export_features as copy_out

    benchmark = load_benchmark(dataset, root)
    written = copy_out(find_store(root, benchmark, features), folder)
    click.echo(f"Wrote {written} files to {folder}")
