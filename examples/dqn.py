"""DQN with SEER in a loop of one's own: freeze half-way, then learn from stored embeddings.

python examples/dqn.py [STEPS FREEZE_AT CAPACITY FIRST_UPDATE]
"""

import copy
import sys

import ale_py
import gymnasium as gym
import torch
from torch import nn

import seer

STEPS, FREEZE_AT, CAPACITY, FIRST_UPDATE = [int(number) for number in sys.argv[1:]] or (6000, 3000, 5000, 500)

torch.set_num_threads(1)  # so small a network gains nothing by more, and crawls where cores aren't free
gym.register_envs(ale_py)
game = gym.make("ALE/RoadRunner-v5", frameskip=1, repeat_action_probability=0.0)  # v5 repeats a quarter of actions
env = gym.wrappers.AtariPreprocessing(game, terminal_on_life_loss=True)
env = gym.wrappers.FrameStackObservation(env, 4)
torch.manual_seed(0)
module = nn.Sequential(nn.Conv2d(4, 32, 5, 5), nn.ReLU(), nn.Conv2d(32, 64, 5, 5), nn.ReLU())
encoder = seer.FreezableEncoder(module, (4, 1, 84, 84))
head = nn.Sequential(nn.Linear(encoder.output_size, 256), nn.ReLU(), nn.Linear(256, int(env.action_space.n)))
target_encoder, target_head = copy.deepcopy(encoder), copy.deepcopy(head)
optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=3e-4, eps=1.5e-4)

replay = seer.make_replay(
    num_bytes=CAPACITY * 84 * 84, frame_shape=(1, 84, 84), stack=4, action_space=env.action_space, n_step=10
)
head_cost = seer.count_multiply_adds(head, torch.zeros(1, encoder.output_size))
ledger = seer.FlopsLedger(seer.cost_of(encoder=encoder.multiply_adds()[0], head=head_cost, batch_size=32))

observation, score, scores = env.reset(seed=0)[0][:, None], 0.0, []  # [S, C, H, W]
for step in range(1, STEPS + 1):
    (features,), row = encoder.observe(observation)
    greedy = int(head(features).argmax())
    action = greedy if torch.rand(()) > max(0.05, 1 - step / 1500) else env.action_space.sample()
    after, reward, terminated, truncated, _ = env.step(action)
    last = encoder.row(after[:, None]) if truncated else None
    clipped = max(-1.0, min(1.0, float(reward)))
    replay.append(row, action, clipped, terminated=terminated, truncated=truncated, final_row=last)
    observation, score = after[:, None], score + float(reward)
    ledger.on_step(encoder.phase)
    if terminated or truncated:
        scores, score, observation = [*scores, score], 0.0, env.reset()[0][:, None]
    if step == FREEZE_AT:
        done = encoder.freeze_and_transcode(replay, target_encoder)
        ledger.on_freeze(done.rows + done.fitted)
        print(f"frozen: {done.row_bytes_before} -> {done.row_bytes_after} bytes a step, room for {done.capacity_after}")
    if step >= FIRST_UPDATE:
        batch = replay.sample(32)
        (now,) = encoder.embed(encoder.prepare(batch.now))
        values = head(now).gather(1, batch.action[:, None])[:, 0]
        with torch.no_grad():
            (following,) = target_encoder.embed(encoder.prepare(batch.next))
            goal = batch.reward + batch.discount * target_head(following).amax(1)
        loss = nn.functional.smooth_l1_loss(values, goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ledger.on_update(encoder.phase)
    if step % 500 == 0:
        target_encoder.load_state_dict(encoder.state_dict())
        target_head.load_state_dict(head.state_dict())
        print(
            f"step {step}: {encoder.phase}, last lives {scores[-5:]}, {ledger.total / ledger.baseline:.0%} of the FLOPs"
        )
