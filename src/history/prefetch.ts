/**
 * Fetches items ahead, several at a time, and gives them in their order.
 *
 * @param parallel at most so many fetches under way or waiting to be taken
 * @param bytesMax of `sizeOf` under way or waiting; one item may exceed it alone
 */
export async function* prefetch<Item, Result>(
  items: readonly Item[],
  fetch: (item: Item) => Promise<Result>,
  sizeOf: (item: Item) => number,
  parallel: number,
  bytesMax: number,
): AsyncGenerator<{ item: Item; result: Result }, void, undefined> {
  const ahead: { item: Item; result: Promise<Result> }[] = [];
  let bytesAhead = 0;
  let nextIndex = 0;
  const fill = () => {
    while (nextIndex < items.length && ahead.length < parallel) {
      const item = items[nextIndex] as Item;
      if (ahead.length > 0 && bytesAhead + sizeOf(item) > bytesMax) return;
      const result = fetch(item);
      result.catch(() => {}); // Told when its turn comes.
      ahead.push({ item, result });
      bytesAhead += sizeOf(item);
      nextIndex++;
    }
  };
  for (fill(); ahead.length > 0; fill()) {
    const { item, result } = ahead[0] as { item: Item; result: Promise<Result> };
    const settled = await result;
    ahead.shift();
    bytesAhead -= sizeOf(item);
    yield { item, result: settled };
  }
}
