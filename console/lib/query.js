// Data of a page: loaded when what it depends on changes, and again every few seconds while somebody looks.
import { useCallback, useEffect, useRef, useState } from "./html.js";
import { session, tenant } from "./api.js";
import { follow } from "./live.js";

// Between two looks at a list that the stream asks for, and the interval while there is a stream: what is accepted and held
// back is not in it.
const LOOK_MS = 1500;
const STREAMED_MS = 15_000;

/**
 * Load data. What was loaded stays while it is loaded again.
 * @template Data
 * @param {(abort: AbortSignal) => Promise<Data>} load
 * @param {any[]} depends
 * @param {{every?: number}} [options] `every`: milliseconds after which it is loaded again.
 * @returns {{data: Data | undefined, error: any, loading: boolean, refresh: () => void, look: () => void, change: (data: Data) => void}}
 */
export function useQuery(load, depends, { every = 0 } = {}) {
  const [state, set] = useState({ data: /** @type {any} */ (undefined), error: null, loading: true });
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  const caller = session.value?.caller?.key_id;
  const acting = tenant.value;
  const soon = useRef(() => {});
  useEffect(() => {
    const control = new AbortController();
    let timer = 0;
    let busy = false;
    let wanted = false;
    const once = async () => {
      clearTimeout(timer);
      if (busy) return void (wanted = true);
      busy = true;
      try {
        const data = await latest.current(control.signal);
        if (!control.signal.aborted) set({ data, error: null, loading: false });
      } catch (error) {
        if (!control.signal.aborted) set((before) => ({ ...before, error, loading: false }));
      }
      busy = false;
      if ((wanted || every) && !control.signal.aborted) timer = setTimeout(again, wanted ? LOOK_MS : every);
      wanted = false;
    };
    const again = () => {
      if (document.hidden) document.addEventListener("visibilitychange", again, { once: true, signal: control.signal });
      else once();
    };
    set((before) => ({ ...before, loading: true }));
    once();
    soon.current = again;
    return () => {
      control.abort();
      clearTimeout(timer);
    };
  }, [...depends, turn, every, caller, acting]);
  const refresh = useCallback(() => setTurn((before) => before + 1), []);
  const look = useCallback(() => soon.current(), []);
  const change = useCallback((data) => set((before) => ({ ...before, data })), []);
  return { ...state, refresh, look, change };
}

/**
 * A list that never jumps: the first page is looked at again every few seconds, what is listed changes in place, and what
 * is new waits until somebody asks for it.
 * @param {(cursor: string, abort?: AbortSignal) => Promise<any>} page Loads a page.
 * @param {any[]} depends
 * @param {{every?: number, recorded?: (delivery: any) => boolean}} [options] `recorded`: whether a delivery of the live stream
 * may be in the list, which is looked at again then, and every few seconds only without a stream.
 */
export function useList(page, depends, { every = 0, recorded } = {}) {
  const [state, set] = useState({ items: /** @type {any[]} */ ([]), cursor: "", fresh: /** @type {any[]} */ ([]), page: /** @type {any} */ (null) });
  const [more, setMore] = useState({ loading: false, error: null });
  const key = JSON.stringify([...depends, tenant.value]);
  const shown = useRef("");
  const [live, setLive] = useState(false);
  // A page says what it was loaded for, because data stays while other data is loaded.
  const query = useQuery(async (abort) => ({ key, found: await page("", abort) }), depends, { every: every && live ? STREAMED_MS : every });
  const { look } = query;
  const may = useRef(/** @type {(delivery: any) => boolean} */ (() => false));
  may.current = (delivery) => Boolean(recorded?.(delivery)) || state.items.some((item) => item.id === delivery.delivery_id);
  const follows = Boolean(every && recorded);
  useEffect(() => {
    if (!follows) return undefined;
    let timer = 0;
    const end = follow((message) => {
      if (message.live !== undefined) setLive(message.live);
      if (!timer && (message.reset || message.dropped || message.items?.some(may.current))) {
        timer = setTimeout(() => {
          timer = 0;
          look();
        }, LOOK_MS);
      }
    });
    return () => {
      clearTimeout(timer);
      end();
    };
  }, [follows, tenant.value]);
  useEffect(() => {
    if (query.data?.key !== key) return;
    const { found } = query.data;
    set((before) => {
      if (shown.current !== key || !before.page) {
        shown.current = key;
        return { items: found.items, cursor: found.next_cursor || "", fresh: [], page: found };
      }
      const known = new Map(found.items.map((item) => [item.id, item]));
      const ids = new Set(before.items.map((item) => item.id));
      return {
        ...before,
        items: before.items.map((item) => known.get(item.id) || item),
        // What came between two looks may be more than a page: then the number is a lower bound.
        fresh: found.items.filter((item) => !ids.has(item.id)),
        page: found,
      };
    });
  }, [query.data, key]);
  const current = shown.current === key && Boolean(state.page);
  return {
    ...state,
    loading: query.loading || !current,
    error: query.error,
    ready: Boolean(state.page),
    stale: !current,
    more,
    refresh() {
      shown.current = "";
      query.refresh();
    },
    /** Show what is new. */
    show() {
      shown.current = "";
      query.refresh();
    },
    /** Replace an item that has changed. */
    replace(item) {
      set((before) => ({ ...before, items: before.items.map((one) => (one.id === item.id ? item : one)) }));
    },
    async next() {
      setMore({ loading: true, error: null });
      const { cursor } = state;
      try {
        const found = await page(cursor);
        // Meanwhile something else may be listed, or the same from its beginning.
        set((before) =>
          shown.current === key && before.cursor === cursor ? { ...before, items: [...before.items, ...found.items], cursor: found.next_cursor || "" } : before,
        );
        setMore({ loading: false, error: null });
      } catch (error) {
        setMore({ loading: false, error });
      }
    },
  };
}

/**
 * Run an action once at a time; errors are kept to be shown.
 * @param {(...given: any[]) => Promise<any>} act
 */
export function useAction(act) {
  const [state, set] = useState({ busy: false, error: /** @type {any} */ (null) });
  const latest = useRef(act);
  latest.current = act;
  const run = useCallback(async (...given) => {
    set({ busy: true, error: null });
    try {
      const result = await latest.current(...given);
      set({ busy: false, error: null });
      return result;
    } catch (error) {
      set({ busy: false, error });
      return undefined;
    }
  }, []);
  return { ...state, run };
}
