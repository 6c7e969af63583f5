import type { TokenProvider } from "../auth/auth";
import { RequestRejected } from "../errors";

/** Do something with a token; once more with another one when it is refused. */
export async function authorized<T>(tokens: TokenProvider, act: (token: string) => Promise<T>): Promise<T> {
  const token = await tokens.token();
  try {
    return await act(token);
  } catch (error) {
    if (!(error instanceof RequestRejected) || error.code !== "unauthorized") throw error;
    const renewed = await tokens.token(token);
    if (renewed === token) throw error;
    return await act(renewed);
  }
}
