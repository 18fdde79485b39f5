type Set<T> = (value: T | ((before: T) => T)) => void;
type Undo = void | (() => void);
export function useCallback<F extends Function>(call: F, inputs: readonly unknown[]): F;
export function useEffect(effect: () => Undo, inputs?: readonly unknown[]): void;
export function useId(): string;
export function useLayoutEffect(effect: () => Undo, inputs?: readonly unknown[]): void;
export function useMemo<T>(make: () => T, inputs: readonly unknown[]): T;
export function useRef<T = any>(initial?: T): { current: T };
export function useState<T = any>(initial?: T | (() => T)): [T, Set<T>];
