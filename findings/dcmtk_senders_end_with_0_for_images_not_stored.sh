#!/usr/bin/env bash
# DCMTK 3.6.7 (storescu, dcmsend), pydicom 3.0.2, pynetdicom 3.0.4 as the receiver.
#
# Expected by most: a sender that ends with 0 has stored all its images; `--no-halt` means that the others are
# sent as well, and the exit code still tells of the one that was refused.
# Seen: with `--no-halt` storescu and dcmsend end with 0 after an image whose SOP class the receiver does not
# accept, storescu also after one that was answered 0xC000; after that answer dcmsend ends with 0 without any
# option. A script that goes by exit codes loses images: use storescu without `--no-halt`, which stops at the
# first failure with a code, or count the answers (`-v` of storescu, `--create-report-file` of dcmsend).
#
# Exits 0 while that holds, 1 when it changed.
set -euo pipefail
command -v storescu dcmsend echoscu >/dev/null || { echo "DCMTK is not installed"; exit 1; }
folder=$(mktemp -d)
receiver=
trap 'test -z "$receiver" || kill "$receiver" 2>/dev/null; rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install -q --disable-pip-version-check pydicom==3.0.2 pynetdicom==3.0.4

# Two CT images and an MR image; a receiver of CT images that answers the first one of an association 0xC000.
cat >"$folder/receive.py" <<'PYTHON'
import sys
from pathlib import Path

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, evt

folder = Path(sys.argv[1])
for name, sop_class, uid in (("1", CTImageStorage, "2.25.1"), ("2", CTImageStorage, "2.25.2"), ("mr", MRImageStorage, "2.25.3")):
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = sop_class, uid
    image.StudyInstanceUID, image.SeriesInstanceUID, image.PatientID = "2.25.8", "2.25.9", "1"
    dcmwrite(folder / f"{name}.dcm", image, enforce_file_format=True)


def answer(event: evt.Event) -> int:
    return 0xC000 if event.request.AffectedSOPInstanceUID == "2.25.1" else 0x0000


entity = AE("RECEIVER")
entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
(folder / "port.new").write_text(str(server.server_address[1]))
(folder / "port.new").rename(folder / "port")
sys.stdin.read()
PYTHON
mkfifo "$folder/open"
"$folder/env/bin/python" "$folder/receive.py" "$folder" <>"$folder/open" &
receiver=$!
for _ in $(seq 600); do test -e "$folder/port" && break; sleep 0.1; done
port=$(cat "$folder/port")

ended() { local code=0; "$@" >/dev/null 2>&1 || code=$?; echo "$code"; }
seen=$(
  ended storescu 127.0.0.1 "$port" "$folder/1.dcm" "$folder/2.dcm"
  ended storescu --no-halt 127.0.0.1 "$port" "$folder/1.dcm" "$folder/2.dcm"
  ended storescu --no-halt 127.0.0.1 "$port" "$folder/mr.dcm" "$folder/2.dcm"
  ended dcmsend 127.0.0.1 "$port" "$folder/1.dcm" "$folder/2.dcm"
  ended dcmsend --no-halt 127.0.0.1 "$port" "$folder/mr.dcm" "$folder/2.dcm"
)
echo "storescu; with --no-halt; with an MR image; dcmsend; with --no-halt and an MR image:" $seen
test "$(echo $seen)" = "192 0 0 0 0"
