"""The bundle as a MONAI Deploy application: a folder of DICOM in, derived DICOM out.

    python docker/map --input sample_dicom --output out_map --model bundle

``--model`` is a bundle as ``python -m pipelines.export_bundle`` writes it, or a folder that holds
one, as the packager makes it. Its own workflow runs, and finds, reads and writes the slices: the
result is that of ``ctdenoise run``, pixel for pixel. The operators of the App SDK are not used:
they make a volume of a series, and the bundle wants slices. For research only: not a medical
device.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from monai.bundle import run
from monai.deploy.conditions import CountCondition
from monai.deploy.core import (
    Application,
    ExecutionContext,
    InputContext,
    Operator,
    OperatorSpec,
    OutputContext,
)

from ctdenoise.errors import CTDenoiseError

INFERENCE = Path("configs", "inference.json")


def bundle_at(path: Path) -> Path:
    """The bundle at a path, or the only one in the folder there.

    Raises:
        CTDenoiseError: there is none, or more than one.
    """
    found = [folder for folder in (path, *sorted(path.glob("*"))) if (folder / INFERENCE).is_file()]
    if len(found) != 1:
        raise CTDenoiseError(f"--model: {len(found)} bundles there, and it must be one")
    return found[0]


class BundleOperator(Operator):
    """Runs the inference of a bundle, once."""

    def __init__(self, fragment: Application, *, bundle: Path, source: Path, output: Path) -> None:
        self._bundle = bundle
        self._source = source
        self._output = output
        super().__init__(fragment, CountCondition(fragment, 1), name="bundle")

    def setup(self, spec: OperatorSpec) -> None:
        """It has neither inputs nor outputs: folders are all that goes in and out."""

    def compute(
        self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext
    ) -> None:
        run(
            config_file=str(self._bundle / INFERENCE),
            meta_file=str(self._bundle / "configs" / "metadata.json"),
            bundle_root=str(self._bundle),
            dataset_dir=str(self._source),
            output_dir=str(self._output),
        )
        if not any(self._output.rglob("*.dcm")):
            raise CTDenoiseError("--input: no CT series to denoise")


class DenoiseApplication(Application):
    """One operator, with the folders that the command line or the MAP's environment names."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.name = "ctdenoise"

    def compose(self) -> None:
        context = Application.init_app_context(self.argv)
        operator = BundleOperator(
            self,
            bundle=bundle_at(Path(context.model_path).resolve()),
            source=Path(context.input_path).resolve(),
            output=Path(context.output_path).resolve(),
        )
        self.add_operator(operator)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    try:
        DenoiseApplication().run()
    except CTDenoiseError as error:
        sys.exit(f"ctdenoise: {error}")
