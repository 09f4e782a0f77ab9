import { Button, Group, Modal, PasswordInput, Stack, Text, TextInput } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { ApiError, proveWith, send } from "../api/client";
import { onSubmit, useAttempt } from "./attempt";
import { text } from "./text";

/** Asks for the password again when the server wants a recent proof; the change that was wanted then goes on. */
export function Proof() {
  const [open, setOpen] = useState(false);
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");
  const [needsCode, setNeedsCode] = useState(false);
  const attempt = useAttempt();
  const { fault } = attempt;
  const settle = useRef<((proved: boolean) => void) | null>(null);
  useEffect(() => {
    proveWith(() => new Promise((resolve) => {
      settle.current?.(false);
      settle.current = resolve;
      setOpen(true);
    }));
    return () => proveWith(null);
  }, []);
  const finish = (proved: boolean) => {
    settle.current?.(proved);
    settle.current = null;
    setOpen(false);
    setPassword("");
    setCode("");
    attempt.forget();
  };
  const submit = async () => {
    try {
      await send("/api/identity/me/confirm", { password, ...(code ? { code } : {}) });
      finish(true);
    } catch (error) {
      if (error instanceof ApiError && error.of("code")) setNeedsCode(true);
      throw error;
    }
  };
  return (
    <Modal opened={open} onClose={() => finish(false)} title={text.proof} closeButtonProps={{ "aria-label": text.close }}>
      <form onSubmit={(event) => onSubmit(event, attempt, submit)}>
        <Stack>
          <Text size="sm">{text.proofLead}</Text>
          <PasswordInput autoFocus data-autofocus label={text.password} autoComplete="current-password" required value={password} error={fault?.of("password") ?? (fault && !fault.problem.errors?.length ? fault.message : undefined)}
            onChange={(event) => setPassword(event.currentTarget.value)} />
          {needsCode && <TextInput label={text.code} autoComplete="one-time-code" inputMode="numeric" value={code} error={fault?.of("code")} onChange={(event) => setCode(event.currentTarget.value)} />}
          <Group justify="flex-end"><Button variant="default" onClick={() => finish(false)}>{text.cancel}</Button><Button type="submit" loading={attempt.busy}>{text.goOn}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}
