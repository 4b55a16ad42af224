{# G-02: the order states in which money was paid. The payment day must be known as well. #}
{% macro is_paid_status(status) -%} {{ status }} in ('paid', 'shipped', 'completed') {%- endmacro %}

{#
  M-01: score = 1 + number of cut points strictly below the value, so a tie takes the lower class. A rule of another house
  may give a value on the cut point the upper class (`at_cut`). A cut point that is null does not exist.
#}
{% macro score(value, cuts, at_cut='lower') -%}
    1
    {%- for k in range(1, 5) %}
    + case when {{ value }} {{ '>=' if at_cut == 'upper' else '>' }} {{ cuts }}.cut_{{ k }} then 1 else 0 end
    {%- endfor %}
{%- endmacro %}

{# Value kept between two limits. #}
{% macro clamp(value, lower, upper) -%} least(greatest({{ value }}, {{ lower }}), {{ upper }}) {%- endmacro %}

{#
  G-10: true for a cell that must be hidden. Cells below k are hidden; then the next smallest ones too, until at
  least two are hidden and together hold k people, or a total would give the hidden cell away by subtraction.
#}
{# `was_hidden`: in the release of an earlier day. What was hidden with a small cell stays hidden while any is small:
   else the one day's figures would tell of the other day's partner, and so of the small cell. So does one that has become
   empty since: whoever knows that one person left it would know what the others hold. #}
{% macro is_suppressed_cell(people, k, partition, tie_break, was_hidden='false') -%}
    (({{ people }} > 0 or {{ was_hidden }}) and (
        ({{ people }} > 0 and {{ people }} < {{ k }})
        or (
            min(case when {{ people }} > 0 then {{ people }} end) over (partition by {{ partition }}) < {{ k }}
            and (
                {{ was_hidden }}
                or sum(case when {{ people }} > 0 then 1 else 0 end) over (
                    partition by {{ partition }}
                    order by case when {{ people }} < {{ k }} or {{ was_hidden }} then 0 else 1 end, {{ people }}, {{ tie_break }}
                    rows between unbounded preceding and current row
                ) <= 2
                or coalesce(sum({{ people }}) over (
                    partition by {{ partition }}
                    order by case when {{ people }} < {{ k }} or {{ was_hidden }} then 0 else 1 end, {{ people }}, {{ tie_break }}
                    rows between unbounded preceding and 1 preceding
                ), 0) < {{ k }}
            )
        )
    ))
{%- endmacro %}

{# M-05: expected gap, own median gap shrunk towards the common one by a fixed weight. `gaps` own gaps are known. #}
{% macro shrunk_gap(gaps, own_gap) -%}
    (greatest({{ gaps }}, 0) * coalesce({{ own_gap }}, 0) + policy.lifecycle_shrink_weight * common.gap_days)
    / (greatest({{ gaps }}, 0) + policy.lifecycle_shrink_weight)
{%- endmacro %}

{# 1 … 5 by how long ago the last purchase was, at the limits that score recency in a home with few buyers. #}
{% macro recency_bucket(recency_days, policy) -%}
    1
    {%- for k in range(1, 5) %}
    + case when {{ recency_days }} > {{ policy }}.rfm_absolute_recency_{{ k }} then 1 else 0 end
    {%- endfor %}
{%- endmacro %}
