"""Prepare a corpus: python launch/prepare.py recordings.csv --output prepared --split train=0.9,validation=0.1

Look at it first: python launch/prepare.py recordings.csv --inspect --report report.html
Find wrong transcripts: python launch/prepare.py clips.csv --output prepared --score runs/demo/best --min-evidence 1
See docs/preparing.md and docs/cleaning.md.
"""

from data.prepare_command import add_arguments, inspection_settings, preparation_settings, worker_count
from trainer.command_line import CommandLine, run_command


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    add_arguments(parser)
    options = parser.parse_intermixed_args(arguments)
    if options.inspect:
        from data.inspection.inspect import inspect_corpus
        from trainer.pages.corpus import check_page, tell_inspection

        page = options.report or "inspection.html"
        check_page(page)
        inspection = inspect_corpus(*inspection_settings(options), worker_count(options), options.cluster)
        return tell_inspection(inspection, options.input, page)
    from data.preparation.finishing import SCORES_PAGE
    from data.preparation.prepare import prepare
    from data.preparation.summary import print_summary
    from data.storage import join
    from data.terminal import Progress

    settings = preparation_settings(options)
    workers, scorer = worker_count(options), None
    if settings.score is not None:
        from trainer.pages.corpus import check_page
        from trainer.transcription.scoring.scorer import prepare_scoring

        if options.report:
            check_page(options.report)
        settings, workers, scorer = prepare_scoring(settings, options)
    with Progress() as progress:
        summary = prepare(
            settings,
            workers,
            options.cluster,
            options.overwrite,
            watch=lambda result, reused: progress.add(result.rows, len(result.dropped), reused),
            scorer=scorer,
        )
    print_summary(summary, settings.output)
    if summary.scores is not None:
        from trainer.transcription.scoring.report import tell_scores

        tell_scores(summary.scores, options.report or join(settings.output, SCORES_PAGE))
    return 0


if __name__ == "__main__":
    run_command(main)
