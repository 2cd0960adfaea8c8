// Run beside the readers' node_modules: what JavaScript readers make of a report, as JSON.
import fs from "node:fs";

const [file] = process.argv.slice(2);
const { buffer, byteOffset, byteLength } = fs.readFileSync(file);
const bytes = buffer.slice(byteOffset, byteOffset + byteLength);
const load = async (name) => {
  const module = await import(name);
  return module.default ?? module;
};

const dwv = await load("dwv");
const parser = new dwv.DicomParser();
parser.parse(bytes);
let regions = 0;
const walk = (item) => {
  regions += item.valueType === "SCOORD" ? 1 : 0;
  (item.contentSequence ?? []).forEach(walk);
};
walk(dwv.getSRContent(parser.getDicomElements()));

const dcmjs = await load("dcmjs");
const { adaptersSR } = await import("@cornerstonejs/adapters");
const dataset = dcmjs.data.DicomMetaDictionary.naturalizeDataset(dcmjs.data.DicomMessage.readFile(bytes).dict);
const images = new Proxy({}, { get: (_, key) => `image:${String(key)}` });
const plane = {
  frameOfReferenceUID: "1.2",
  rows: 192,
  columns: 192,
  imageOrientationPatient: [1, 0, 0, 0, 1, 0],
  rowCosines: [1, 0, 0],
  columnCosines: [0, 1, 0],
  imagePositionPatient: [0, 0, 0],
};
const tools = adaptersSR.Cornerstone3D.MeasurementReport.generateToolState(dataset, images, { get: () => plane }, {});
const annotations = Object.values(tools).reduce((sum, own) => sum + own.length, 0);

console.log(JSON.stringify({ dwv: regions, adapters: annotations }));
