/** What the epochs after `epoch` in a listing say to a node that has `epoch`: see `askAnswered` of the follow protocol. */
export function judgeLaterEpochs(epoch: number, laterEpochs: readonly number[]): "none" | "next" | "hole" {
  if (laterEpochs.length === 0) return "none";
  return laterEpochs.every((later, index) => later === epoch + 1 + index) ? "next" : "hole";
}
