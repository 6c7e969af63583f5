import { act, render, screen, within } from "@testing-library/react";
import { type UserEvent, userEvent } from "@testing-library/user-event";
import { App } from "../../src/ui/app/App";
import { PageSession } from "../../src/ui/app/session";
import { FakeServices } from "./fakes";
import { present } from "./present";

export interface OpenPage {
  readonly services: FakeServices;
  readonly session: PageSession;
  readonly user: UserEvent;
}

/** The whole page as it begins, over fakes. */
export async function openPage(services = new FakeServices()): Promise<OpenPage> {
  const session = new PageSession(services);
  render(<App session={session} />);
  await act(session.begin);
  return { services, session, user: userEvent.setup() };
}

/** The page of a user who was signed in before. */
export async function openSignedIn(services = new FakeServices()): Promise<OpenPage> {
  services.auth.restored = { status: "signedIn", username: "ada" };
  return openPage(services);
}

export async function ask(user: UserEvent, prompt: string): Promise<void> {
  await user.type(screen.getByRole("textbox", { name: "Prompt" }), prompt);
  await user.click(screen.getByRole("button", { name: "Send" }));
}

export async function openTab(user: UserEvent, name: string | RegExp): Promise<void> {
  await user.click(screen.getByRole("tab", { name }));
}

/** The latest answer on a way. */
export function lane(name: string): HTMLElement {
  return present(screen.getAllByRole("group", { name }).at(-1));
}

export function button(name: string | RegExp, within_?: HTMLElement): HTMLElement {
  return (within_ ? within(within_) : screen).getByRole("button", { name });
}

/** What a screen reader has been told. */
export function announced(): string[] {
  return [...document.querySelectorAll("[aria-live] p")].map(({ textContent }) => textContent);
}
