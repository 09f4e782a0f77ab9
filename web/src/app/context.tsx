import { createContext, useContext } from "react";
import type { Account } from "../api/types";
import type { Span, View } from "./range";

/** What every page knows: the view in the address, the instants it covers, whose data it shows and who looks. */
export interface Scene {
  view: View; span: Span; zone: string; organization: string; currency: string; account: Account;
  /** Change the view, on this page or on another one. */
  go: (next: View, path?: string) => void;
  may: (permission: string) => boolean;
}

const Context = createContext<Scene | null>(null);
export const SceneProvider = Context.Provider;

export function useScene(): Scene {
  const scene = useContext(Context);
  if (!scene) throw new Error("outside of the frame");
  return scene;
}
