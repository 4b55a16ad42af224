{#
  The steps between two builds under which a class is computed anew (docs/decisions/017-class-history.md). Each adds one
  thing to the step before: `facts` what is known and until when, `bounds` and `policy` whether they are those of before.
#}
{% macro rescoring_steps() -%}
    {{ return([
        {'cause': 'refund_or_correction', 'factor': 'correction', 'aged': false, 'bought': false, 'returned': false,
         'answered': false, 'bounds': false, 'policy': false},
        {'cause': 'ageing', 'factor': 'ageing', 'aged': true, 'bought': false, 'returned': false,
         'answered': false, 'bounds': false, 'policy': false},
        {'cause': 'own_order', 'factor': 'own_order', 'aged': true, 'bought': true, 'returned': false,
         'answered': false, 'bounds': false, 'policy': false},
        {'cause': 'refund_or_correction', 'factor': 'refund', 'aged': true, 'bought': true, 'returned': true,
         'answered': false, 'bounds': false, 'policy': false},
        {'cause': 'own_answer', 'factor': 'own_answer', 'aged': true, 'bought': true, 'returned': true,
         'answered': true, 'bounds': false, 'policy': false},
        {'cause': 'cut_points', 'factor': 'cut_points', 'aged': true, 'bought': true, 'returned': true,
         'answered': true, 'bounds': true, 'policy': false},
        {'cause': 'policy_change', 'factor': 'policy', 'aged': true, 'bought': true, 'returned': true,
         'answered': true, 'bounds': true, 'policy': true},
    ]) }}
{%- endmacro %}

{#
  Schemes that are computed anew, beside custom segments: of need the moves of buyers, of household those between the two
  kinds of family. Of any other the cause is told from what happened to the customer.
#}
{% macro rescored_schemes() -%}
    {{ return(['rfm', 'abc', 'value', 'lifecycle', 'frequency', 'power', 'loyalty', 'behaviour', 'need', 'household', 'channel',
        'price_sensitivity', 'affinity', 'clv']) }}
{%- endmacro %}

{# Bounds that all customers share, by which classes are cut: (name, group). A group is drawn by thresholds of its own. #}
{% macro class_cut_points() -%}
    {%- set found = [] -%}
    {%- for measure in ['recency', 'frequency', 'monetary'] -%}
        {%- for k in range(1, 5) -%}{%- do found.append((measure ~ '_cut_' ~ k, 'rfm')) -%}{%- endfor -%}
    {%- endfor -%}
    {{ return(found + [('abc_cut_a', 'abc'), ('abc_cut_b', 'abc'), ('common_gap_days', 'lifecycle'),
                       ('clv_cut_high', 'clv'), ('clv_cut_mid', 'clv')]) }}
{%- endmacro %}

{# Bounds of the build before, one row or none. #}
{% macro build_before() -%}
    select bounds.*
    from {{ ref('class_bounds') }} as bounds
    where bounds.as_of_date = (select max(earlier.as_of_date) from {{ source('history', 'class_bounds') }} as earlier)
{%- endmacro %}

{# Groups of bounds, those of class_group_bounds among them: a column `<group>_drawn_by` of class_bounds has their thresholds. #}
{% macro bound_groups() -%}
    {{ return(['rfm', 'abc', 'lifecycle', 'price_sensitivity', 'affinity', 'clv']) }}
{%- endmacro %}

{% macro drawn_by_columns() -%}
    {%- set found = [] -%}
    {%- for group in bound_groups() -%}{%- do found.append(group ~ '_drawn_by') -%}{%- endfor -%}
    {{ return(found) }}
{%- endmacro %}

{# The group of class_group_bounds that a stage and a recency are. #}
{% macro return_rate_group(stage, recency_bucket) -%} {{ stage }} || '|' || {{ recency_bucket }} {%- endmacro %}

{#
  At which step of the re-scoring a cause that is told from what happened to the customer takes effect, for a custom segment
  whose rule asks for a class that is not scored again.
#}
{% macro step_of_told(cause) -%}
    case {{ cause }}
        when 'merge_split' then 1
        when 'profile_update' then 1
        when 'ageing' then 2
        when 'own_order' then 3
        when 'refund_or_correction' then 4
        when 'policy_change' then 7
        else 5
    end
{%- endmacro %}

{#
  Customers who did something since the build before (P-16): bought, sent something back, answered a survey, complained.
  `before` is a relation of one row with its as_of_date, or of none.
#}
{% macro customers_active_since(before) -%}
    select
        customer_key,
        bool_or(did = 'order') as has_bought,
        bool_or(did = 'return') as has_returned,
        bool_or(did = 'answer') as has_answered,
        bool_or(did = 'complaint') as has_complained
    from (
        select facts.customer_key, 'order' as did
        from {{ ref('int_customer_facts') }} as facts
        inner join {{ before }} on facts.last_purchase_date >= {{ before }}.as_of_date
        union all
        select returns.customer_key, 'return' as did
        from {{ ref('int_customer_returns') }} as returns
        inner join {{ before }} on returns.day >= {{ before }}.as_of_date
        union all
        select answers.customer_key, 'answer' as did
        from {{ ref('fct_survey_responses') }} as answers
        inner join {{ before }} on answers.answered_date >= {{ before }}.as_of_date
        union all
        select tickets.customer_key, 'complaint' as did
        from {{ ref('fct_tickets') }} as tickets
        inner join {{ before }} on tickets.created_date >= {{ before }}.as_of_date
        where tickets.ticket_type = 'complaint'
    ) as seen
    where customer_key is not null
    group by customer_key
{%- endmacro %}
